package cdc

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"ponix/runtime/runtimetest"
)

// TestCancelledSession holds that a session whose statement was cancelled ends at once,
// and its lock with it.
func TestCancelledSession(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	there := func(state string) (yes bool) {
		if err := db.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = $1 AND state LIKE $2", s.conn.PID(), state).Scan(&yes); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.rows(ctx, "SELECT pg_sleep(60)")
		done <- err
	}()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if !there("active") {
			return errors.New("it does not sleep yet")
		}
		return nil
	})
	cancel()
	if err := <-done; err == nil {
		t.Fatal("it was not cancelled")
	}
	s.close()
	runtimetest.Eventually(t, 3*time.Second, func() error {
		if there("%") {
			return errors.New("it is still there")
		}
		return nil
	})
}

// TestPooler holds that a pooler in front of PostgreSQL, which refuses settings at the start of a
// session as PgBouncer does, is called what it is.
func TestPooler(t *testing.T) {
	t.Parallel()
	at := runtimetest.Listen(t, func(conn net.Conn) {
		b := pgproto3.NewBackend(conn, conn)
		if _, err := b.ReceiveStartupMessage(); err == nil {
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: lock_timeout"})
			b.Flush() //nolint:errcheck // connect fails in another way
		}
	})
	db, err := pgxpool.New(t.Context(), "postgres://ponix@"+at+"/ponix?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := connect(t.Context(), db); err == nil || !strings.Contains(err.Error(), "pooler") || !strings.Contains(err.Error(), "lock_timeout") {
		t.Error(err)
	}
}

// TestNoLimitsOfTime holds that limits of time that the operator gives a user do not end the
// session of a slot, however large a transaction or a table is.
func TestNoLimitsOfTime(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	const limits = "('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout')"
	if _, err := db.Exec(t.Context(), `DO $$ DECLARE limited text; BEGIN
		FOR limited IN SELECT name FROM pg_settings WHERE name IN `+limits+` LOOP
			EXECUTE format('ALTER DATABASE %I SET %I = 3600000', current_database(), limited);
		END LOOP;
	END $$`); err != nil {
		t.Fatal(err)
	}
	s, err := connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	rows, err := s.rows(t.Context(), "SELECT name FROM pg_settings WHERE setting <> '0' AND name IN "+limits)
	if err != nil || len(rows) > 0 {
		t.Errorf("limited by %q, %v", rows, err)
	}
}
