package cdc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/runtimetest"
)

// TestRefusedInAChain has the stream refuse one event in the middle of a large transaction, of
// those that share an answer: the reason is told all the same, nothing is stored after it, and
// everything comes once when the stream takes it.
func TestRefusedInAChain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 100
	e.instance(t)
	e.streaming(t)
	limit := func(bytes int32) {
		t.Helper()
		runtimetest.Alter(t, e.js, "organizations", func(c *jetstream.StreamConfig) { c.MaxMsgSize = bytes })
	}
	limit(1000)
	const n, large = 3000, 2500
	e.exec(t, "INSERT INTO organizations (id, name) SELECT i::text, CASE i WHEN $1 THEN repeat('🜁', 255) ELSE 'x' END FROM generate_series(1, $2) AS i", large, n)
	e.wantError(t, "message size exceeds maximum")
	if all := e.events(t, "organizations", 0); len(all) != large-1 {
		t.Errorf("%d events are stored, want those before the refused one, %d", len(all), large-1)
	}
	limit(-1)
	e.wantOrder(t, e.events(t, "organizations", n), n)
}

// TestChainsInTrouble holds that a large transaction, whose events share answers, is told of whole,
// once and in order, whatever comes between them.
func TestChainsInTrouble(t *testing.T) {
	t.Parallel()
	const n = 40_000
	for name, start := range map[string]func(t *testing.T, e *env) (times int, trouble func()){
		"somebody else's message": func(t *testing.T, e *env) (int, func()) {
			e.instance(t)
			return 10, func() {
				if _, err := e.js.Publish(t.Context(), "organizations.note", nil); err != nil {
					t.Fatal(err)
				}
			}
		},
		"another leader": func(t *testing.T, e *env) (int, func()) {
			e.on(t, startCluster(t))
			e.streams.Replicas = 3
			e.instance(t)
			return 10, func() {
				runtimetest.Eventually(t, 10*time.Second, func() error { // an election may be going on
					_, err := e.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.organizations", nil, 5*time.Second)
					return err
				})
			}
		},
		"a killed owner": func(t *testing.T, e *env) (int, func()) {
			all := []*process{e.process(t), e.process(t)}
			return 3, func() {
				victim := e.owner(t, all)
				all[victim].kill()
				all[victim] = e.process(t)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.config.RetryDelay = 50
			times, trouble := start(t, e)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) SELECT i::text, 'x' FROM generate_series(1, $1) AS i", n)
			for i := range times {
				e.reached(t, i*n/times+1)
				trouble()
			}
			var all []got
			runtimetest.Eventually(t, patience, func() error {
				all = slices.DeleteFunc(e.eventsWithin(t, "organizations", n, patience), func(ev got) bool { return ev.subject == "organizations.note" })
				if len(all) < n {
					return fmt.Errorf("%d of %d events", len(all), n)
				}
				return nil
			})
			e.wantOrder(t, all, n)
		})
	}
}

// wantOrder holds events to being those of one transaction, each once and in its order.
func (e *env) wantOrder(t *testing.T, all []got, n int) {
	t.Helper()
	if len(all) != n {
		t.Errorf("%d events, want %d", len(all), n)
	}
	for i, ev := range all {
		if at := ev.id[strings.LastIndex(ev.id, "-")+1:]; number(t, at) != i+1 {
			t.Fatalf("event %d is %s", i+1, ev.id)
		}
	}
}
