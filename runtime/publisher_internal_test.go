package runtime

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/runtimetest"
)

// TestBatchesHaveIDs holds that a result's id goes with it, alone and in a batch: without,
// it would be stored again when its message is delivered again.
func TestBatchesHaveIDs(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	sent, err := nc.SubscribeSync("s")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(nc, BatchWindow, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	for i := range 3 { // the first goes alone, and the others as one batch when that is answered
		p.publishID(&nats.Msg{Subject: "s"}, strconv.Itoa(i), func(error) {})
	}
	for i := range 3 {
		m, err := sent.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if id := m.Header.Get(jetstream.MsgIDHeader); id != strconv.Itoa(i) || (m.Header.Get(batchIDHeader) != "") != (i > 0) {
			t.Errorf("message %d has %v", i, m.Header)
		}
		if m.Reply != "" {
			m.Respond([]byte(`{"stream":"s","seq":1}`)) //nolint:errcheck // then no more comes
		}
	}
	p.Close()
}

// TestFailedInTheQueue has a message fail before its turn, and its place be another's: only
// that one is sent.
func TestFailedInTheQueue(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	sent, err := nc.SubscribeSync("s")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(nc, 8, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	failed := 0
	for i, place := range []int{7, 6, 6} {
		p.Publish(&nats.Msg{Subject: "s", Data: []byte(strconv.Itoa(i))}, func(error) { failed++ })
		if i == 1 {
			p.finish(place, p.slots[place].round, errNoAck)
		}
	}
	p.finish(7, p.slots[7].round, errNoAck)
	for _, want := range []string{"0", "2"} {
		m, err := sent.NextMsg(10 * time.Second)
		if err != nil || string(m.Data) != want || m.Reply == "" {
			t.Fatalf("%v, %v: want %s alone", m, err, want)
		}
	}
	p.Abort()
	p.Close()
	if failed != 3 || p.flying != 0 {
		t.Errorf("%d have failed, and %d batches are on their way", failed, p.flying)
	}
}
