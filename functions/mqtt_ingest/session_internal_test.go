package mqttingest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestNothingIsStoredLater has an instance lose its gateways while a message waits for room in
// the stream, as where it is stopped: when it goes on, another has stored the message long ago,
// and JetStream may not know its id any more.
func TestNothingIsStoredLater(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	raw := streams.Config{Raw: "raw_envelopes", Replicas: 1}.RawEnvelopes()
	raw.MaxMsgs, raw.Consumers = 1, nil
	if err := streams.Ensure(t.Context(), js, raw); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), raw.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), raw.Subject("o", "another"), nil); err != nil {
		t.Fatal(err)
	}
	out, err := runtime.NewPublisher(nc, 8, publishTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var owned atomic.Bool
	owned.Store(true)
	s := &session{gateway: &pb.Gateway{GatewayId: "g", OrganizationId: "o"}, raw: raw, out: out, ids: &identity{gateway: "g"}, owned: owned.Load, status: &status{}}
	l := newLink(nil)
	close(l.ready)
	s.receive(l, message{topic: "o/d", received: time.Now()}, func() {})
	runtimetest.Eventually(t, 10*time.Second, func() error {
		s.status.mu.Lock()
		defer s.status.mu.Unlock()
		if s.status.lastError == "" {
			return errors.New("the stream has not refused the message")
		}
		return nil
	})
	owned.Store(false)
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs > 0 {
			t.Fatalf("it is stored, or %v", err)
		}
		if !l.gone() {
			return errors.New("the link is not given up")
		}
		return nil
	})
	if !errors.Is(l.err, errNotOwned) {
		t.Error(l.err)
	}
}
