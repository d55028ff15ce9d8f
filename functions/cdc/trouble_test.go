package cdc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// Writes go on while the snapshot is taken: of each row there is one version that
// the snapshot has, and then every later one.
func TestSnapshotWhileWritesGoOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const rows, rounds = 1000, 20
	e.exec(t, "INSERT INTO organizations (id, name) SELECT n, '0' FROM generate_series(0, $1::int - 1) AS n", rows)
	done := make(chan error, 1)
	go func() {
		_, err := e.db.Exec(t.Context(), fmt.Sprintf(`DO $$ BEGIN
			FOR round IN 1..%d LOOP
				FOR part IN 0..19 LOOP UPDATE organizations SET name = round WHERE id::int %% 20 = part; COMMIT; END LOOP;
			END LOOP;
		END $$`, rounds))
		done <- err
	}()
	e.becomes(t, 10*time.Second, "SELECT max(name::int) > 2 FROM organizations")
	e.instance(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('last', '0')")
	at := map[string]int{}
	var all []got
	for len(at) <= rows {
		all = e.events(t, "organizations", len(all)+1)
		clear(at)
		for _, ev := range all {
			o := decode(t, ev, &organizationv1.Organization{})
			version := number(t, o.Name)
			last, known := at[o.Id]
			if known == (ev.operation == "snapshot") && o.Id != "last" || known && version != last+1 {
				t.Fatalf("row %s: %s of version %d after version %d", o.Id, ev.operation, version, last)
			}
			at[o.Id] = version
		}
	}
	for id, version := range at {
		if id != "last" && version != rounds {
			t.Errorf("row %s ended as version %d", id, version)
		}
	}
	t.Logf("%d events, %d of them after the snapshot", len(all), len(all)-rows)
}

// A slot has to wait for transactions that have written something, and says whose; one that
// is made again still says why. The others' slots would have to wait, too: this test is alone.
func TestSlotWaitsForTransaction(t *testing.T) {
	e := newEnv(t)
	for n, lost := range []string{"", "it is gone; it is made again, with a fresh snapshot; "} {
		tx, err := e.db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // it is committed
		if _, err := tx.Exec(t.Context(), "INSERT INTO organizations (id, name) VALUES ($1, 'acme')", fmt.Sprint("long", n)); err != nil {
			t.Fatal(err)
		}
		stop := e.instance(t)
		e.wantError(t, fmt.Sprintf("%sslot %s is made when a transaction has ended that began before, in any database of this PostgreSQL: that of process %d",
			lost, e.config.Slot, tx.Conn().PgConn().PID()))
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.streaming(t)
		if all := e.events(t, "organizations", 2*n+1); decode(t, all[2*n], &organizationv1.Organization{}).Id != fmt.Sprint("long", n) {
			t.Errorf("got %s", kinds(all))
		}
		stop()
		e.free(t)
		e.exec(t, "SELECT pg_drop_replication_slot($1)", e.config.Slot)
	}
}

// What cannot be converted stops everything behind it, loudly. Nothing is skipped.
func TestEventThatCannotBeConverted(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay, e.config.MaxAttempts = 50, 2
	stop := e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('before', 'acme')")
	e.exec(t, "INSERT INTO gateways (id, organization_id, name, status, type, config) VALUES ('g', 'before', 'gw', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_OF_TOMORROW', '{}')")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('after', 'acme')")
	e.wantError(t, "GATEWAY_TYPE_OF_TOMORROW")
	if all := e.events(t, "organizations", 1); len(all) != 1 {
		t.Fatalf("it was skipped: %s", kinds(all))
	}
	// The way out, short of a newer version: mend the row, and drop the slot.
	e.exec(t, "UPDATE gateways SET type = 'GATEWAY_TYPE_EMQX', config = '{\"broker_url\":\"mqtt://h\"}'")
	stop()
	e.free(t)
	e.exec(t, "SELECT pg_drop_replication_slot($1)", e.config.Slot)
	e.instance(t)
	if all := e.events(t, "gateways", 1); all[0].operation != "snapshot" || decode(t, all[0], &gatewayv1.Gateway{}).GatewayId != "g" {
		t.Errorf("got %s", kinds(all))
	}
	e.events(t, "organizations", 3)
}

func (e *env) wantError(t *testing.T, text string) {
	t.Helper()
	runtimetest.Eventually(t, 20*time.Second, func() error {
		s, err := e.status(t)
		if err != nil || !strings.Contains(s.LastError, text) {
			return fmt.Errorf("got %v, %w", s, err)
		}
		return nil
	})
}

// A stream that refuses events gets all of them, in order and once, when it takes
// them again.
func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 100
	e.instance(t)
	e.streaming(t)
	limit := func(n int64) {
		t.Helper()
		runtimetest.Alter(t, e.js, "organizations", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = n, jetstream.DiscardNew })
	}
	limit(10)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', '0')")
	if err := e.count(t.Context(), 3000); err != nil {
		t.Fatal(err)
	}
	e.wantError(t, "maximum messages")
	if e.truth(t, "SELECT confirmed_flush_lsn >= pg_current_wal_lsn() FROM pg_replication_slots WHERE slot_name = '"+e.config.Slot+"'") {
		t.Error("what the stream refused is confirmed")
	}
	limit(-1)
	e.wantVersions(t, 3000)
}

// Somebody else writes to a stream of ours: events are neither lost nor double nor
// out of order for that.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 50
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', '0')")
	const n, notes = 2000, 10
	done := make(chan error, 1)
	go func() { done <- e.count(t.Context(), n) }()
	for i := range notes {
		e.reached(t, i*n/notes)
		if _, err := e.js.Publish(t.Context(), "organizations.note", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	at := 0
	for i, ev := range e.events(t, "organizations", n+1+notes) {
		if ev.subject == "organizations.note" {
			continue
		}
		if name := decode(t, ev, &organizationv1.Organization{}).Name; number(t, name) != at {
			t.Fatalf("message %d is event %s instead of %d", i+1, name, at)
		}
		at++
	}
	if at != n+1 {
		t.Errorf("%d events", at)
	}
}

// A slot that PostgreSQL gave up because it would keep too much of the log.
func TestInvalidatedSlot(t *testing.T) {
	t.Parallel()
	pg := startServer(t)
	e := newEnvOn(t, pg.dsn)
	stop := e.instance(t)
	e.streaming(t)
	stop()
	e.free(t)
	e.exec(t, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
	e.exec(t, "SELECT pg_reload_conf()")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'unseen')")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		e.exec(t, "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
		e.exec(t, "SELECT pg_switch_wal()")
		e.exec(t, "CHECKPOINT")
		if !e.truth(t, "SELECT wal_status = 'lost' FROM pg_replication_slots") {
			return errNotYet
		}
		return nil
	})
	e.instance(t)
	if all := e.events(t, "organizations", 1); all[0].operation != "snapshot" {
		t.Errorf("got %s", kinds(all))
	}
	e.wantError(t, "invalidated")
}

// While PostgreSQL is away, the status tells so, and why the owner cannot reach it.
func TestStatusWithoutPostgres(t *testing.T) {
	t.Parallel()
	pg := startServer(t)
	e := newEnvOn(t, pg.dsn)
	e.instance(t)
	e.streaming(t)
	pg.stop(t)
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if s, err := e.status(t); err != nil || s.Active || !strings.Contains(s.LastError, "PostgreSQL cannot be used now; ") || !strings.Contains(s.LastError, "connection refused") || s.ConfirmedLsn == "" || s.LagSeconds == 0 {
			return fmt.Errorf("got %v, %w", s, err)
		}
		return nil
	})
	pg.start(t)
	if s := e.streaming(t); !s.Active || s.LagSeconds != 0 {
		t.Errorf("got %v", s)
	}
}
