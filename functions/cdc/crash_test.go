package cdc_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/runtimetest"
)

// TestCrashAfterAPurge has PostgreSQL crash and forget how far its slot was, when the
// stream does not tell any more what it had.
func TestCrashAfterAPurge(t *testing.T) {
	t.Parallel()
	pg := startServer(t)
	e := newEnvOn(t, pg.dsn)
	e.config.RetryDelay = 200
	e.instance(t)
	e.streaming(t)
	for _, name := range []string{"first", "second"} { // PostgreSQL may write down where the slot is with the first
		e.exec(t, "INSERT INTO organizations (id, name) VALUES ($1, $1)", name)
		e.wantEventOf(t, name)
		runtimetest.Eventually(t, 20*time.Second, func() error {
			if !e.truth(t, "SELECT confirmed_flush_lsn >= pg_current_wal_insert_lsn() FROM pg_replication_slots WHERE slot_name = '"+e.config.Slot+"'") {
				return errNotYet
			}
			return nil
		})
	}
	s, err := e.js.Stream(t.Context(), "organizations")
	if err != nil {
		t.Fatal(err)
	}
	const short = 100 * time.Millisecond // so that ids are forgotten, as after two minutes
	runtimetest.Alter(t, e.js, "organizations", func(c *jetstream.StreamConfig) { c.Duplicates = short })
	time.Sleep(2 * short)
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := e.db.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		_, err := e.db.Exec(t.Context(), "INSERT INTO organizations (id, name) VALUES ('p', 'after') ON CONFLICT DO NOTHING")
		return err
	})
	e.wantEventOf(t, "after")
	if all := e.events(t, "organizations", 1); len(all) != 1 {
		t.Errorf("%d events: %s", len(all), kinds(all))
	}
}
