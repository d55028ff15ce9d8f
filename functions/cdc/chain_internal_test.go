package cdc

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/runtimetest"
)

// TestChains holds which events ask for an answer: each of an owner's first, then the last of so many,
// of so many bytes, before an event of another table, and before more is read. All arrive in
// their order, and all are acknowledged.
func TestChains(t *testing.T) {
	t.Parallel()
	o := ownerOf(t)
	if err := o.takeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer o.stopPublisher()
	o.failed = func(err error) { t.Error(err) }
	if err := o.claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	arrived, err := o.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	tx := o.progress.begin(time.Now())
	type sent struct {
		id   string
		asks bool
	}
	var want []sent
	emit := func(e *entity, payload []byte, asks bool) {
		ev := event{at: position{1, uint64(len(want) + 1)}, operation: streams.Insert, token: streams.Created, payload: payload}
		want = append(want, sent{ev.at.id(o.outlets[e].epoch), asks})
		o.publish(t.Context(), e, tx, ev)
	}
	first, second := o.entities[0], o.entities[1]
	for range window {
		emit(first, nil, true)
	}
	for i := range 2 * chainLength {
		emit(first, nil, i%chainLength == chainLength-1)
	}
	emit(first, nil, false)
	emit(first, make([]byte, chainBytes+1), true)
	emit(first, nil, false)
	emit(first, nil, true)
	o.outlets[second].alone = 1
	emit(second, nil, true)
	emit(second, nil, false)
	emit(second, nil, true)
	o.flush()
	o.flush()
	for i := 0; i < len(want); {
		m, err := arrived.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		id := m.Header.Get(jetstream.MsgIDHeader)
		if id == "" {
			continue // what the server says
		}
		if got := (sent{id, m.Reply != ""}); got != want[i] {
			t.Fatalf("message %d is %v, want %v", i, got, want[i])
		}
		i++
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if n := tx.missing.Load() - 1; n != 0 || o.progress.behind() {
			return fmt.Errorf("%d events have no answer", n)
		}
		return nil
	})
	if n := o.progress.events.Load(); n != uint64(len(want)) {
		t.Errorf("%d events are acknowledged, want %d", n, len(want))
	}
}
