package cdc_test

import (
	"strings"
	"testing"
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
	s, err := e.js.Stream(t.Context(), "organizations")
	if err != nil {
		t.Fatal(err)
	}
	limit := func(bytes int32) {
		t.Helper()
		c := s.CachedInfo().Config
		c.MaxMsgSize = bytes
		if _, err := e.js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
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
