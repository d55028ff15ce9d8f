package cdc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"ponix/runtime/runtimetest"
)

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
	if e.shares(t) {
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

// TestStandbyIsAway holds that who looks at the status learns why there are no events, where a
// standby is away without which PostgreSQL sends none, from version 17 on, and that they come
// when it is not waited for any more.
func TestStandbyIsAway(t *testing.T) {
	t.Parallel()
	e := newEnvOn(t, startServer(t).dsn)
	e.instance(t)
	e.streaming(t)
	e.exec(t, "SELECT pg_create_physical_replication_slot('away', true)")
	if e.shares(t) {
		e.exec(t, "ALTER SYSTEM SET synchronized_standby_slots = 'away'")
		e.exec(t, "SELECT pg_reload_conf()")
		runtimetest.Eventually(t, 30*time.Second, func() error { // what reads the slot may hear of it later
			e.exec(t, "INSERT INTO organizations (id, name) SELECT 'o' || count(*), 'held' FROM organizations")
			s, err := e.status(t)
			if err == nil && !strings.Contains(s.LastError, "synchronized_standby_slots") {
				err = errNotYet
			}
			return err
		})
		e.exec(t, "ALTER SYSTEM RESET synchronized_standby_slots")
		e.exec(t, "SELECT pg_reload_conf()")
	}
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'free')")
	e.wantEventOf(t, "free")
}

// shares tells whether standbys can have slots.
func (e *env) shares(t *testing.T) bool {
	t.Helper()
	return e.truth(t, "SELECT current_setting('server_version_num')::int >= 170000")
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
