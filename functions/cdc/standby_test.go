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

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestStandby holds that an instance which is led to a standby leaves the slot to those
// at the primary: there is another lock, and what is there may be old.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := startServer(t)
	e := newEnvOn(t, primary.dsn)
	stop := e.instance(t)
	e.streaming(t)
	stop()
	primary.stop(t)
	standby := &server{options: primary.options}
	standby.options.DataDir, standby.options.PostgresPort = filepath.Join(t.TempDir(), "standby"), runtimetest.Port(t)
	if err := exec.Command("cp", "-a", primary.options.DataDir, standby.options.DataDir).Run(); err != nil { // with owners and modes
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(standby.options.DataDir, "postgres", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	primary.start(t)
	standby.start(t)
	t.Cleanup(func() { standby.stop(t) })
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'first')")
	e.wantEventOf(t, "first")
	astray := *e
	astray.dsn = standby.cluster.PostgresURL("")
	astray.instance(t)
	e.wantError(t, "is a standby")
	wantPrimaryOf(t, standby, primary)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'second')")
	if got := kinds(e.events(t, "organizations", 2)); got != "organizations.create/insert organizations.create/insert" {
		t.Errorf("got %s", got)
	}
}

// wantPrimaryOf holds that of servers, of which only one is a primary, that one is used.
func wantPrimaryOf(t *testing.T, servers ...*server) {
	t.Helper()
	c := config.Default[config.Postgres]()
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, fmt.Sprintf("%s:%d", s.cluster.PostgresHost, s.cluster.PostgresPort))
	}
	c.Host, c.Database = strings.Join(hosts, ","), "postgres"
	db, err := c.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var standby bool
	if err := db.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&standby); err != nil || standby {
		t.Errorf("got standby %v, error %v", standby, err)
	}
}

// TestPromoted holds that a standby which has synchronized the slot is gone on with when it is
// promoted, without a snapshot. Before PostgreSQL 17 there is no such slot, and a snapshot.
func TestPromoted(t *testing.T) {
	t.Parallel()
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
	stop := e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	e.wantEventOf(t, "before")
	want := "organizations.create/insert organizations.create/snapshot organizations.create/snapshot organizations.update/complete"
	if e.truth(t, "SELECT current_setting('server_version_num')::int >= 170000") {
		want = "organizations.create/insert organizations.create/insert"
		synchronized := func(condition string) {
			t.Helper()
			runtimetest.Eventually(t, 30*time.Second, func() error {
				e.exec(t, "SELECT pg_log_standby_snapshot()") // the slot moves to where one is
				if _, err := promoted.db.Exec(t.Context(), "SELECT pg_sync_replication_slots()"); err != nil {
					return err
				}
				if !promoted.truth(t, "SELECT synced AND NOT temporary AND "+condition+" FROM pg_replication_slots WHERE slot_name = '"+e.config.Slot+"'") {
					return errNotYet
				}
				return nil
			})
		}
		synchronized("true")
		stop()
		e.free(t)
		var at string
		if err := e.db.QueryRow(t.Context(), "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", e.config.Slot).Scan(&at); err != nil {
			t.Fatal(err)
		}
		synchronized("confirmed_flush_lsn = '" + at + "'")
	}
	stop()
	e.free(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'unseen')")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if !promoted.truth(t, "SELECT count(*) = 2 FROM organizations") {
			return errNotYet
		}
		return nil
	})
	primary.stop(t)
	promoted.exec(t, "SELECT pg_promote()")
	promoted.instance(t)
	promoted.streaming(t)
	if got := kinds(promoted.events(t, "organizations", strings.Count(want, " ")+1)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
