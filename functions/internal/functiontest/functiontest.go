// Package functiontest runs functions as they run in production, for their
// tests: hosted on a NATS server of the test's own, on a PostgreSQL database that
// is migrated.
//
// The test binary needs runtimetest.Main.
package functiontest

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/rs/xid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/migrations"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// Env is where functions run. Generated clients take it as their connection.
type Env struct {
	grpc.ClientConnInterface
	NATS *nats.Conn
	DB   *pgxpool.Pool
}

// Start hosts the functions that newFunctions returns until the test ends.
func Start(t testing.TB, newFunctions func(*pgxpool.Pool) []runtime.Function) *Env {
	t.Helper()
	dsn := runtimetest.Postgres(t)
	migrate(t, dsn)
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	nc := runtimetest.NATS(t)
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Grace: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}, newFunctions(pool)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &Env{wire.NewClient(nc), nc, pool}
}

func migrate(t testing.TB, dsn string) {
	t.Helper()
	m, err := migrations.Postgres(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // what matters is committed
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Organization makes an organization and returns its id.
func (e *Env) Organization(t testing.TB) string {
	t.Helper()
	id := xid.New().String()
	e.Exec(t, "INSERT INTO organizations (id, name) VALUES ($1, 'acme')", id)
	return id
}

// DeleteOrganization deletes an organization softly.
func (e *Env) DeleteOrganization(t testing.TB, id string) {
	t.Helper()
	e.Exec(t, "UPDATE organizations SET deleted_at = now() WHERE id = $1", id)
}

// Exec runs a statement.
func (e *Env) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := e.DB.Exec(context.WithoutCancel(t.Context()), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// WantError holds an error to a code and a reason, and to the fields that have a
// violation.
func WantError(t testing.TB, err error, code codes.Code, reason string, fields ...string) {
	t.Helper()
	st := status.Convert(err)
	var gotReason string
	var got []string
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			gotReason = d.Reason
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				got = append(got, v.Field)
				if v.Description == "" {
					t.Errorf("%s: the violation says nothing", v.Field)
				}
			}
		}
	}
	if st.Code() != code || gotReason != reason {
		t.Errorf("got %v %s, want %v %s: %s", st.Code(), gotReason, code, reason, st.Message())
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
		t.Errorf("violations of %q, want %q", got, fields)
	}
}

// WantInvalid holds an error to INVALID_ARGUMENT with one violation of each field.
func WantInvalid(t testing.TB, err error, fields ...string) {
	t.Helper()
	WantError(t, err, codes.InvalidArgument, "INVALID_ARGUMENT", fields...)
}
