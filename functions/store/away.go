package store

import (
	"context"
	"errors"

	"github.com/ClickHouse/clickhouse-go/v2"
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
	return status.Convert(runtime.Error(codes.Unavailable, "CLICKHOUSE_UNAVAILABLE", "ClickHouse cannot be used now"))
}

// queryError is unavailable for reads, where an exception that speaks of the
// statement is our mistake.
func queryError(ctx context.Context, err error) error {
	var e *clickhouse.Exception
	if errors.As(err, &e) && (e.Code == 47 || e.Code == 62) { // UNKNOWN_IDENTIFIER, SYNTAX_ERROR
		return err
	}
	return unavailable(ctx, err)
}
