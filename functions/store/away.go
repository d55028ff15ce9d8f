package store

import (
	"errors"

	"github.com/ClickHouse/clickhouse-go/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime"
)

// away is an error of ClickHouse that is nobody's fault here: callers see
// UNAVAILABLE, the log the cause.
type away struct{ cause error }

func (a *away) Error() string { return "ClickHouse: " + a.cause.Error() }
func (a *away) Unwrap() error { return a.cause }

// GRPCStatus is what callers see.
func (a *away) GRPCStatus() *status.Status {
	st := status.New(codes.Unavailable, "ClickHouse cannot be used now")
	if with, err := st.WithDetails(&errdetails.ErrorInfo{Reason: "CLICKHOUSE_UNAVAILABLE", Domain: runtime.Domain}); err == nil {
		return with
	}
	return st
}

// queryError is unavailable for reads, where an exception that speaks of the
// statement is our mistake.
func queryError(err error) error {
	var e *clickhouse.Exception
	if errors.As(err, &e) && (e.Code == 47 || e.Code == 62) { // UNKNOWN_IDENTIFIER, SYNTAX_ERROR
		return err
	}
	return unavailable(err)
}
