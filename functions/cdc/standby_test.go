package cdc_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
