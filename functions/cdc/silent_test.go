package cdc_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
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

// TestSilentWhileTakingOver holds that an owner gives up a connection that has gone without a
// word before it reads the slot, whatever it has just asked for, and with it the lock.
func TestSilentWhileTakingOver(t *testing.T) {
	t.Parallel()
	type owner struct {
		*env
		statement string
		log       runtimetest.Text
		silent    atomic.Bool
	}
	var owners []*owner // at the same time: each waits for ten seconds
	for _, statement := range []string{"pg_is_in_recovery", "IDENTIFY_SYSTEM", "relreplident", "wal_status", "START_REPLICATION"} {
		o := &owner{env: newEnv(t), statement: statement}
		o.env.log = &o.log
		o.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &silentAt{Conn: conn, statement: []byte(statement), once: &o.silent}, err
		}
		o.instance(t)
		owners = append(owners, o)
	}
	for _, o := range owners {
		runtimetest.Eventually(t, 20*time.Second, func() error {
			if !o.silent.Load() || !strings.Contains(o.log.String(), "PostgreSQL is silent for 10s") {
				return fmt.Errorf("at %s the log has\n%s", o.statement, o.log.String())
			}
			return nil
		})
		o.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
		o.wantEventOf(t, "acme")
	}
}

// silentAt is a connection that loses a statement, and all that follows it. It is the first
// that sends it.
type silentAt struct {
	net.Conn
	statement []byte
	once      *atomic.Bool
	silent    bool
}

func (s *silentAt) Write(b []byte) (int, error) {
	if s.silent = s.silent || bytes.Contains(b, s.statement) && s.once.CompareAndSwap(false, true); s.silent {
		return len(b), nil
	}
	return s.Conn.Write(b)
}
