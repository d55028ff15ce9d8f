package cdc_test

import (
	"net/url"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// TestStandbyWithSilentConnections holds that an instance takes over although its connections to
// PostgreSQL were dropped without a word while it waited.
func TestStandbyWithSilentConnections(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	stop := e.instance(t)
	e.streaming(t)
	at, err := url.Parse(e.dsn)
	if err != nil {
		t.Fatal(err)
	}
	link := runtimetest.NewLink(t, at.Host)
	at.Host = link.Addr
	standby := *e
	standby.dsn = at.String()
	standby.instance(t)
	t.Cleanup(link.Close) // first, or the pool would wait for what is silent
	runtimetest.Eventually(t, 20*time.Second, func() error { // it looks at the lock
		if !e.truth(t, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query LIKE '%pg_locks%'") {
			return errNotYet
		}
		return nil
	})
	link.Silence()
	stop()
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	e.wantEventOf(t, "acme")
}
