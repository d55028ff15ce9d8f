package mqttingest

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
	"ponix/runtime/config"
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

// TestAcknowledgement holds that a message's packet id is free when the broker hears that it is
// stored, or not taken, and may give the id to the next one; and that its room is, after that.
func TestAcknowledgement(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	if err := streams.Ensure(t.Context(), js, c.RawEnvelopes()); err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), c.MQTTSessions())
	if err != nil {
		t.Fatal(err)
	}
	out, err := runtime.NewPublisher(nc, 8, publishTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := &session{gateway: &pb.Gateway{OrganizationId: "acme"}, raw: c.RawEnvelopes(), out: out, ids: begin(t, kv, nil, false), owned: func() bool { return true }, status: &status{}}
	for _, topic := range []string{"acme/thermometer", "nonsense"} {
		l := newLink(nil)
		close(l.ready)
		go l.acknowledge()
		l.held.add(1000)
		heard := false
		s.receive(l, message{topic: topic, qos: 1, packet: 7, received: time.Now()}, func() {
			s.ids.mu.Lock()
			defer s.ids.mu.Unlock()
			if heard = true; len(s.ids.open) > 0 {
				t.Errorf("%s: the broker hears of it, and its packet id is still in use", topic)
			}
		})
		l.drain(20 * time.Second)
		if !heard || l.held.held != 0 {
			t.Errorf("%s: acknowledged: %v, and %d bytes are still held", topic, heard, l.held.held)
		}
		l.fail(errHungUp)
	}
}

// TestDrainedLinkTakesNothing holds that what comes to a link that was drained is left to the
// next one.
func TestDrainedLinkTakesNothing(t *testing.T) {
	t.Parallel()
	s := &session{owned: func() bool { return true }, status: &status{}, gateway: &pb.Gateway{OrganizationId: "acme"}}
	l := newLink(nil)
	defer l.fail(errHungUp)
	close(l.ready)
	go l.acknowledge()
	l.drain(20 * time.Second)
	s.receive(l, message{topic: "nonsense", qos: 1, packet: 1}, func() { t.Error("it was acknowledged") })
	l.drain(20 * time.Second) // and so it would have been
}

// TestGoneLinkDoesNothing holds that nothing is taken from a link that is gone, nor acknowledged
// to it, nor published once more, whatever comes first: the broker sends it again, to the next one.
func TestGoneLinkDoesNothing(t *testing.T) {
	t.Parallel()
	ack := func() { t.Error("it was acknowledged") }
	s := &session{owned: func() bool { return true }, status: &status{}, gateway: &pb.Gateway{OrganizationId: "acme"}}
	for range 100 {
		l := newLink(nil)
		close(l.ready)
		l.fail(errHungUp)
		s.receive(l, message{topic: "nonsense", qos: 1, packet: 1}, ack)
		if received, _, _ := s.status.counts(); received > 0 {
			t.Fatal("it was taken")
		}
		stored := make(chan struct{})
		close(stored)
		l.queue <- &delivery{stored, ack}
		l.acknowledge()
		s.publish(l, nats.NewMsg("nowhere"), nil, 2) // there is no publisher that it could go to
	}
}

// TestReceiveWaits holds that nothing is taken from a link before it is known what the last owner had,
// nor while too much is under way; and that whoever waits goes on when the link is gone.
func TestReceiveWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &session{owned: func() bool { return true }, status: &status{}, gateway: &pb.Gateway{OrganizationId: "acme"}}
		receive := func(l *link) (ended chan struct{}) {
			ended = make(chan struct{})
			go func() {
				defer close(ended)
				s.receive(l, message{topic: "nonsense"}, func() {})
			}()
			synctest.Wait()
			return ended
		}
		taken := func(want uint64) {
			t.Helper()
			if got, _, _ := s.status.counts(); got != want {
				t.Errorf("%d messages are taken, want %d", got, want)
			}
		}
		early, l := newLink(nil), newLink(nil)
		ended := receive(early)
		taken(0)
		early.fail(errHungUp)
		<-ended
		ended = receive(l)
		taken(0)
		close(l.ready)
		<-ended
		taken(1)
		for range window - 1 {
			<-receive(l)
		}
		ended = receive(l)
		select {
		case <-ended:
			t.Error("more is under way than may be")
		default:
		}
		l.fail(errHungUp)
		<-ended
	})
}

// TestWhoOwnsNothingDoesNotConnect holds that an instance whose lease has run out leaves the
// broker to the next owner, whom its client id would push out.
func TestWhoOwnsNothingDoesNotConnect(t *testing.T) {
	t.Parallel()
	s := &session{owned: func() bool { return false }}
	if _, err := s.connect(t.Context()); !errors.Is(err, errNotOwned) {
		t.Errorf("got %v", err)
	}
}
