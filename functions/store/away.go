package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"syscall"

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
	if code := codeOf(err); code == 47 || code == 62 { // UNKNOWN_IDENTIFIER, SYNTAX_ERROR
		return err
	}
	return unavailable(ctx, err)
}

// connected begins a statement again where its connection turns out to be gone, as those do
// that were idle when ClickHouse failed over: that may be all that there are, and others can
// be made. To begin twice does no harm: it is a read, or no row was sent yet.
func (f store) connected(begin func() error) error {
	for idle := f.db.Stats().Idle; ; idle-- {
		if err := begin(); idle == 0 || !hungUp(err) {
			return err
		}
	}
}

// hungUp tells whether err is that of a connection whose other end knows nothing of it.
func hungUp(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, syscall.ECONNRESET, syscall.EPIPE}, func(gone error) bool { return errors.Is(err, gone) })
}
