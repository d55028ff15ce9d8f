package convert

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestFollowLeavesNothing holds that whoever follows events no more has no consumer running: it
// is followed anew after each loss of its place.
func TestFollowLeavesNothing(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s := config.Default[streams.Config]().EndDeviceEvents()
	if err := streams.Ensure(t.Context(), js, s); err != nil {
		t.Fatal(err)
	}
	d := NewDevices(&oneDevice{}, Cache{Size: 10, TTL: time.Minute})
	before := nc.NumSubscriptions()
	subscriptions := func(what string, ok func(int) bool) {
		t.Helper()
		runtimetest.Eventually(t, 10*time.Second, func() error {
			if n := nc.NumSubscriptions(); !ok(n) {
				return fmt.Errorf("%s: %d subscriptions, and %d before", what, n, before)
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.follow(js, s, d.deviceEvent)(ctx) }()
	subscriptions("it follows", func(n int) bool { return n > before })
	cancel()
	if err := <-done; err != nil {
		t.Log(err) // it was ended before it followed
	}
	subscriptions("it has ended", func(n int) bool { return n == before })
}

// TestFollowBeginsWithNothing holds that what is known from before events are followed is forgotten:
// nobody has heard what has become of it.
func TestFollowBeginsWithNothing(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	s := config.Default[streams.Config]().EndDeviceEvents()
	if err := streams.Ensure(t.Context(), js, s); err != nil {
		t.Fatal(err)
	}
	d := NewDevices(&oneDevice{}, Cache{Size: 10, TTL: time.Hour})
	d.add(device{id: "d", tenant: &tenant{id: "o"}, at: time.Now()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.follow(js, s, d.deviceEvent)(ctx) }()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		d.mu.RLock()
		defer d.mu.RUnlock()
		if _, known := d.recall("d"); known {
			return errors.New("it is still known")
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestEventEndsUnknown holds that a device which was unknown just now is asked for after its event,
// and after one of any.
func TestEventEndsUnknown(t *testing.T) {
	t.Parallel()
	for _, event := range []string{"\x0a\x01d", ""} { // its id
		d := NewDevices(&oneDevice{}, Cache{Size: 10, TTL: time.Hour})
		d.unknown.Add("d", time.Now().Add(time.Hour))
		d.deviceEvent([]byte(event))
		if dev, err := d.resolve(t.Context(), "d", time.Time{}); err != nil || dev.id != "d" {
			t.Errorf("after event %q: %v, %v", event, dev, err)
		}
	}
}
