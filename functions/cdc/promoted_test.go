package cdc_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// pair is a primary, and its standby as it will be when it is promoted.
type pair struct {
	*env
	primary  *server
	standby  *server
	promoted *env
	shared   bool // the standby can have the slot: from PostgreSQL 17 on
}

func newPair(t *testing.T) *pair {
	t.Helper()
	primary := startServer(t)
	e := newEnvOn(t, primary.dsn)
	e.exec(t, "SELECT pg_create_physical_replication_slot('standby', true)")
	primary.stop(t)
	standby := &server{options: primary.options}
	standby.options.DataDir, standby.options.PostgresPort = filepath.Join(t.TempDir(), "standby"), runtimetest.Port(t)
	if err := exec.Command("cp", "-a", primary.options.DataDir, standby.options.DataDir).Run(); err != nil { // with owners and modes
		t.Fatal(err)
	}
	dir := filepath.Join(standby.options.DataDir, "postgres")
	if err := os.RemoveAll(filepath.Join(dir, "pg_replslot", "standby")); err != nil {
		t.Fatal(err)
	}
	primary.start(t)
	e.db.Reset() // its connections are gone
	conf, err := os.OpenFile(filepath.Join(dir, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := e.db.Config().ConnConfig
	_, err = fmt.Fprintf(conf, "primary_conninfo = 'host=%s port=%d user=%s password=%s dbname=%s'\nprimary_slot_name = 'standby'\nhot_standby_feedback = on\n", p.Host, p.Port, p.User, p.Password, p.Database)
	if err = errors.Join(err, conf.Close(), os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	standby.start(t)
	t.Cleanup(func() { standby.stop(t) })
	promoted := *e
	promoted.dsn = standby.cluster.PostgresURL("")
	promoted.db = promoted.pool(t)
	return &pair{e, primary, standby, &promoted, e.shares(t)}
}

// synchronize has the standby take over the slot as it is, where it can, until that satisfies a
// condition.
func (p *pair) synchronize(t *testing.T, condition string) {
	t.Helper()
	if !p.shared {
		return
	}
	runtimetest.Eventually(t, 30*time.Second, func() error {
		p.exec(t, "SELECT pg_log_standby_snapshot()") // the slot moves to where one is
		if _, err := p.promoted.db.Exec(t.Context(), "SELECT pg_sync_replication_slots()"); err != nil {
			return err
		}
		if !p.promoted.truth(t, "SELECT synced AND NOT temporary AND "+condition+" FROM pg_replication_slots WHERE slot_name = '"+p.config.Slot+"'") {
			return errNotYet
		}
		return nil
	})
}

// has waits until the standby has so many organizations.
func (p *pair) has(t *testing.T, n int) {
	t.Helper()
	p.promoted.becomes(t, 20*time.Second, fmt.Sprintf("SELECT count(*) = %d FROM organizations", n))
}

// promote ends the primary, has the standby take its place, and holds what is published then.
func (p *pair) promote(t *testing.T, want string) {
	t.Helper()
	p.primary.stop(t)
	p.promoted.exec(t, "SELECT pg_promote()")
	p.promoted.exec(t, "SELECT pg_logical_emit_message(true, 'fill', repeat('x', 100000))") // its log is longer than that of the primary was
	p.promoted.instance(t)
	p.promoted.streaming(t)
	p.promoted.exec(t, "INSERT INTO organizations (id, name) VALUES ('last', 'last')")
	p.promoted.wantEventOf(t, "last")
	all := p.promoted.events(t, "organizations", 1)
	var got []string
	for _, ev := range all {
		got = append(got, ev.operation)
	}
	if got := strings.Join(got, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPromoted holds that a standby which has synchronized the slot is gone on with when it is
// promoted, without a snapshot. Before PostgreSQL 17 there is no such slot, and a snapshot.
func TestPromoted(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	stop := p.instance(t)
	p.streaming(t)
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	p.wantEventOf(t, "before")
	var at string
	if err := p.db.QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&at); err != nil {
		t.Fatal(err)
	}
	// While it is read: PostgreSQL takes no slot over that is behind where its own copy can begin.
	p.synchronize(t, "confirmed_flush_lsn >= '"+at+"'")
	stop()
	p.free(t)
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'unseen')")
	p.has(t, 2)
	want := "insert snapshot snapshot complete insert"
	if p.shared {
		want = "insert insert insert"
	}
	p.promote(t, want)
}

// TestPromotedWhileBusy has the slot of the standby be far behind what was published, of which
// the state does not know all: what is on the streams is on the new timeline, too, and comes once.
func TestPromotedWhileBusy(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	stop := p.instance(t)
	p.streaming(t)
	p.synchronize(t, "true")
	at := p.confirmed(t)
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	p.wantEventOf(t, "before")
	p.becomes(t, 20*time.Second, fmt.Sprintf("SELECT confirmed_flush_lsn > '%s' FROM pg_replication_slots WHERE slot_name = '%s'", at, p.config.Slot))
	stop()
	p.free(t)
	kv, err := p.js.KeyValue(t.Context(), p.streams.CaptureState().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	noted, err := kv.Get(t.Context(), p.config.Slot)
	if err != nil {
		t.Fatal(err)
	}
	stop = p.instance(t)
	p.streaming(t)
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'after')")
	p.wantEventOf(t, "after")
	stop()
	p.free(t)
	if _, err := kv.Put(t.Context(), p.config.Slot, noted.Value()); err != nil { // as one that was killed leaves it
		t.Fatal(err)
	}
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('q', 'unseen')")
	p.has(t, 3)
	want := "insert insert snapshot snapshot snapshot complete insert"
	if p.shared {
		want = "insert insert insert insert"
		if !p.promoted.truth(t, fmt.Sprintf("SELECT confirmed_flush_lsn <= '%s' FROM pg_replication_slots WHERE slot_name = '%s'", at, p.config.Slot)) {
			t.Fatal("the slot of the standby is not behind")
		}
	}
	p.promote(t, want)
}

// TestPromotedWithoutTheEnd promotes a standby that lacks the last of what was published: its
// log, which goes on at the same position, has something else there.
func TestPromotedWithoutTheEnd(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	stop := p.instance(t)
	p.streaming(t)
	p.synchronize(t, "true")
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	p.wantEventOf(t, "before")
	p.has(t, 1)
	p.standby.stop(t)
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'lost')")
	p.wantEventOf(t, "lost")
	stop()
	p.free(t)
	p.primary.stop(t)
	p.standby.start(t)
	p.promoted.db.Reset() // its connections are gone
	p.promote(t, "insert insert snapshot complete insert")
}

// confirmed is how far the slot has been read.
func (e *env) confirmed(t *testing.T) (lsn string) {
	t.Helper()
	if err := e.db.QueryRow(t.Context(), "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", e.config.Slot).Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	return lsn
}
