package postgres_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/functions/internal/functiontest"
	"ponix/functions/internal/postgres"
	"ponix/runtime/runtimetest"
)

func pool(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	db, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestErrorsOfTheServer(t *testing.T) {
	t.Parallel()
	db := pool(t, runtimetest.Postgres(t))
	for _, sql := range []string{
		"CREATE TABLE organizations (id text PRIMARY KEY)",
		"CREATE TABLE things (id text PRIMARY KEY, organization_id text REFERENCES organizations, n int CHECK (n > 0))",
		"INSERT INTO organizations VALUES ('o')",
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for sql, want := range map[string]struct {
		code   codes.Code
		reason string
	}{
		"INSERT INTO organizations VALUES ('o')":                      {codes.AlreadyExists, "ALREADY_EXISTS"},
		"INSERT INTO things VALUES ('t', 'nobody')":                   {codes.NotFound, "ORGANIZATION_NOT_FOUND"},
		"SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)":        {codes.Unavailable, "POSTGRES_UNAVAILABLE"},
		"SET TRANSACTION READ ONLY; INSERT INTO things VALUES ('t')":  {codes.Unavailable, "POSTGRES_UNAVAILABLE"},
		"SELECT pg_terminate_backend(pg_backend_pid())":               {codes.Unavailable, "POSTGRES_UNAVAILABLE"},
		"INSERT INTO things VALUES ('t', 'o', -1)":                    {codes.Unknown, ""},
		"SELECT * FROM nothing":                                       {codes.Unknown, ""},
		"DO $$ BEGIN RAISE 'too bad' USING ERRCODE = '40001'; END $$": {codes.Unavailable, "POSTGRES_UNAVAILABLE"},
		"DO $$ BEGIN RAISE 'too bad' USING ERRCODE = '53200'; END $$": {codes.Unavailable, "POSTGRES_UNAVAILABLE"},
		"DO $$ BEGIN RAISE 'too bad' USING ERRCODE = '22P05'; END $$": {codes.InvalidArgument, "INVALID_ARGUMENT"},
		"DO $$ BEGIN RAISE 'too bad' USING ERRCODE = '25P04'; END $$": {codes.Unavailable, "POSTGRES_UNAVAILABLE"},
	} {
		_, err := db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		err = postgres.Error(err)
		if want.code == codes.Unknown { // opaque: the runtime makes it INTERNAL
			if _, ok := status.FromError(err); ok || err == nil {
				t.Errorf("%s: %v", sql, err)
			}
			continue
		}
		functiontest.WantError(t, public(err), want.code, want.reason)
		var cause *pgconn.PgError
		if !errors.As(err, &cause) || strings.Contains(status.Convert(public(err)).Message(), cause.Message) {
			t.Errorf("%s: the cause is lost, or public: %v", sql, err)
		}
	}
}

// public is the status that callers see.
func public(err error) error {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Err()
	}
	return err
}

func TestPostgresIsAway(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // nobody talks to it
	for name, dsn := range map[string]string{
		"nobody listens":   "postgres://u:hunter2@" + runtimetest.Address(t) + "/d?sslmode=disable",
		"nobody answers":   "postgres://u:hunter2@" + ln.Addr().String() + "/d?sslmode=disable&connect_timeout=1",
		"unknown database": strings.Replace(runtimetest.Postgres(t), "/test_", "/no_test_", 1),
	} {
		_, err := postgres.Row(t.Context(), pool(t, dsn), pgx.RowTo[int], errors.New("missing"), "SELECT 1")
		functiontest.WantError(t, public(err), codes.Unavailable, "POSTGRES_UNAVAILABLE")
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
}

// A caller's deadline is the caller's, whatever PostgreSQL is doing.
func TestDeadlineOfTheCaller(t *testing.T) {
	t.Parallel()
	db := pool(t, runtimetest.Postgres(t))
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := postgres.Row(ctx, db, pgx.RowTo[string], errors.New("missing"), "SELECT pg_sleep(10)::text")
	if _, public := status.FromError(err); public || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
