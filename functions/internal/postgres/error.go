package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime"
)

// failure is what callers see of an error of PostgreSQL; the log shows the cause.
type failure struct {
	public *status.Status
	cause  error
}

func (f *failure) Error() string              { return "PostgreSQL: " + f.cause.Error() }
func (f *failure) Unwrap() error              { return f.cause }
func (f *failure) GRPCStatus() *status.Status { return f.public }

func as(code codes.Code, reason, message string, cause error) error {
	return &failure{status.Convert(runtime.Error(code, reason, "%s", message)), cause}
}

// Error gives an error of PostgreSQL the code that callers see: ALREADY_EXISTS
// for a unique violation, NOT_FOUND for the organization that a foreign key does
// not find, INVALID_ARGUMENT for a text that the database cannot hold, UNAVAILABLE
// where PostgreSQL is away or busy and the same call may succeed later. A caller's
// own deadline stays what it is. All else is returned as it is, and the caller sees
// an opaque INTERNAL.
func Error(err error) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*pgconn.ConnectError)): // whatever its cause: a password, a timeout
		return unavailable(err)
	case errors.As(err, &pg):
		return serverError(pg, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, new(net.Error)), errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, puddle.ErrClosedPool), pgconn.SafeToRetry(err):
		return unavailable(err)
	}
	return err
}

// serverError goes by the codes of PostgreSQL's manual, appendix A.
func serverError(pg *pgconn.PgError, err error) error {
	switch pg.Code {
	case "23505": // unique_violation
		return as(codes.AlreadyExists, "ALREADY_EXISTS", "it exists already", err)
	case "23503": // foreign_key_violation
		return as(codes.NotFound, "ORGANIZATION_NOT_FOUND", "the organization does not exist", err)
	case "22P05": // untranslatable_character
		return as(codes.InvalidArgument, "INVALID_ARGUMENT", "a text has a character that the encoding of the database lacks", err)
	case "25006", // read_only_sql_transaction: after a failover
		"25P04", // transaction_timeout
		"40001", // serialization_failure
		"40P01", // deadlock_detected
		"55P03": // lock_not_available
		return unavailable(err)
	}
	for _, class := range []string{
		"08", // connection exception
		"53", // insufficient resources
		"57", // operator intervention: shutdown, statement_timeout
	} {
		if strings.HasPrefix(pg.Code, class) {
			return unavailable(err)
		}
	}
	return err
}

func unavailable(err error) error {
	return as(codes.Unavailable, "POSTGRES_UNAVAILABLE", "PostgreSQL cannot be used now", err)
}
