package cdc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'second')")
	if got := kinds(e.events(t, "organizations", 2)); got != "organizations.create/insert organizations.create/insert" {
		t.Errorf("got %s", got)
	}
}
