package cdc_test

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/runtime/runtimetest"
)

// TestSilentNATSIsNamed holds that the log has NATS where that is silent, and not PostgreSQL,
// which hangs up on an owner that waits for long.
func TestSilentNATSIsNamed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	link := runtimetest.NewLink(t, e.srv.Addr().String())
	log := &runtimetest.Text{}
	e.log = log
	e.instance(t, nats.InProcessServer(nil), nats.SetCustomDialer(through{link}), nats.ReconnectWait(50*time.Millisecond))
	e.streaming(t)
	link.Silence()
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(log.String(), "msg=call") {
			return errNotYet
		}
		return nil
	})
	text := log.String()
	named := strings.Contains(text, "NATS is silent") || strings.Contains(text, "the stream did not acknowledge") // by what ran out of time first
	if !named || strings.Contains(text, "PostgreSQL:") {
		t.Errorf("the log has\n%s", text)
	}
	link.Cut() // so that it connects again
	e.wantEventOf(t, "acme")
}

// through dials a link, whatever the address.
type through struct{ *runtimetest.Link }

func (l through) Dial(network, _ string) (net.Conn, error) { return net.Dial(network, l.Addr) }

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
	t.Cleanup(link.Close)                                    // first, or the pool would wait for what is silent
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
