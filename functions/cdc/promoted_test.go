package cdc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"ponix/runtime/runtimetest"
)

// pair is a primary, and its standby as it will be when it is promoted.
type pair struct {
	*env
	primary  *server
	standby  *server
	promoted *env
	shares   bool // the standby can have the slot: from PostgreSQL 17 on
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
	return &pair{e, primary, standby, &promoted, e.truth(t, "SELECT current_setting('server_version_num')::int >= 170000")}
}

// synchronize has the standby take over the slot as it is, where it can, until that satisfies a
// condition.
func (p *pair) synchronize(t *testing.T, condition string) {
	t.Helper()
	if !p.shares {
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
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if !p.promoted.truth(t, fmt.Sprintf("SELECT count(*) = %d FROM organizations", n)) {
			return errNotYet
		}
		return nil
	})
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
	p.synchronize(t, "true")
	stop()
	p.free(t)
	p.synchronize(t, "confirmed_flush_lsn = '"+p.confirmed(t)+"'")
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'unseen')")
	p.has(t, 2)
	want := "insert snapshot snapshot complete insert"
	if p.shares {
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
	p.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	p.wantEventOf(t, "before")
	stop()
	p.free(t)
	at := p.confirmed(t)
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
	if p.shares {
		want = "insert insert insert insert"
		if !p.promoted.truth(t, fmt.Sprintf("SELECT confirmed_flush_lsn < '%s' FROM pg_replication_slots WHERE slot_name = '%s'", at, p.config.Slot)) {
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

// TestSlotWithoutFailover holds that a slot which an earlier version made is read on without a
// snapshot, and that standbys can have it from then on. That waits where another reads the slot.
func TestSlotWithoutFailover(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "CREATE PUBLICATION "+e.config.Publication+" FOR TABLE organizations, end_devices, gateways")
	log := &runtimetest.Text{}
	e.log = log
	least := e.least(t)
	stop := least.instance(t)
	e.streaming(t)
	stop()
	e.free(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'meanwhile')")
	const shared, not = "have the slot from now on", "cannot have the slot yet"
	want := 0
	if e.truth(t, "SELECT current_setting('server_version_num')::int >= 170000") {
		want = 1
		other := e.replication(t)
		if _, err := other.Exec(t.Context(), "ALTER_REPLICATION_SLOT "+e.config.Slot+" (FAILOVER false)").ReadAll(); err != nil {
			t.Fatal(err)
		}
		if err := pglogrepl.StartReplication(t.Context(), other, e.config.Slot, 0, pglogrepl.StartReplicationOptions{
			PluginArgs: []string{"proto_version '1'", "publication_names '" + e.config.Publication + "'"},
		}); err != nil {
			t.Fatal(err)
		}
		stop = least.instance(t)
		runtimetest.Eventually(t, 20*time.Second, func() error {
			if !strings.Contains(log.String(), not) {
				return errors.New("nobody tells that the slot is in use")
			}
			return nil
		})
		other.Close(t.Context()) //nolint:errcheck // PostgreSQL notices either way
		e.wantEventOf(t, "meanwhile")
		stop()
		e.free(t)
	}
	for range 2 { // the second has nothing to do
		stop = least.instance(t)
		e.streaming(t)
		stop()
		e.free(t)
	}
	least.instance(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'after')")
	if got := kinds(e.events(t, "organizations", 2)); got != "organizations.create/insert organizations.create/insert" {
		t.Errorf("got %s", got)
	}
	if !e.truth(t, "SELECT to_jsonb(s) ->> 'failover' IS DISTINCT FROM 'false' FROM pg_replication_slots AS s WHERE slot_name = '"+e.config.Slot+"'") {
		t.Error("standbys do not have the slot")
	}
	if got := strings.Count(log.String(), shared); got != want {
		t.Errorf("that standbys have it is told %d times, want %d: %s", got, want, log)
	}
}

// replication is a replication connection.
func (e *env) replication(t *testing.T) *pgconn.PgConn {
	t.Helper()
	c := e.db.Config().ConnConfig.Config.Copy()
	c.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) }) //nolint:errcheck // the test is over
	return conn
}
