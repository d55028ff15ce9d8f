package runtime_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestChain holds that the last message of a chain alone asks for an answer, which is for all
// of them: until it comes, they fill the window, or are too many bytes for more.
func TestChain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ window, messages, bytes int }{
		"so many":       {window: 8, messages: 8},
		"so many bytes": {window: 64, messages: 17, bytes: 1000 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := runtimetest.NATS(t)
			sent, err := nc.SubscribeSync("s")
			if err != nil {
				t.Fatal(err)
			}
			p, err := runtime.NewPublisher(nc, test.window, 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			done := make(chan error, 2)
			publish := func(first, n, bytes int) {
				var chain []*nats.Msg
				for i := range n {
					chain = append(chain, &nats.Msg{Subject: "s", Header: nats.Header{"N": {strconv.Itoa(first + i)}}, Data: make([]byte, bytes)})
				}
				p.PublishChain(chain, func(err error) { done <- err })
			}
			arrives := func(n int, asks bool) *nats.Msg {
				t.Helper()
				m, err := sent.NextMsg(10 * time.Second)
				if err != nil || m.Header.Get("N") != strconv.Itoa(n) || (m.Reply != "") != asks {
					t.Fatalf("got %v, %v, want message %d", m, err, n)
				}
				return m
			}
			answer := func(m *nats.Msg) {
				t.Helper()
				if err := m.Respond([]byte(`{"stream":"s","seq":1}`)); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Errorf("what is stored has failed: %v", err)
				}
			}
			publish(0, test.messages, test.bytes)
			go publish(test.messages, 2, 0)
			for i := range test.messages - 1 {
				arrives(i, false)
			}
			last := arrives(test.messages-1, true)
			if m, err := sent.NextMsg(100 * time.Millisecond); err == nil || len(done) > 0 {
				t.Fatalf("it is done without an answer, or the window takes more: %v", m)
			}
			answer(last)
			arrives(test.messages, false)
			answer(arrives(test.messages+1, true))
		})
	}
}

// TestChainIsTooLarge has the connection not take a message in the middle: it fails as a whole,
// and the window is free.
func TestChainIsTooLarge(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	p, err := runtime.NewPublisher(nc, 3, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var failed []error
	large := &nats.Msg{Subject: "s", Data: make([]byte, nc.MaxPayload()+1)}
	p.PublishChain([]*nats.Msg{{Subject: "s"}, large, {Subject: "s"}}, func(err error) { failed = append(failed, err) })
	p.Await(3)
	p.Close()
	if len(failed) != 1 || !errors.Is(failed[0], nats.ErrMaxPayload) {
		t.Errorf("got %v", failed)
	}
}
