package convert_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"ponix/functions/convert"
	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/runtimetest"
)

// TestOthersChange has another device change all the time: those that report are
// remembered nevertheless.
func TestOthersChange(t *testing.T) {
	t.Parallel()
	e := start(t, convert.Cache{Size: 1000, TTL: time.Minute})
	e.hold(func(context.Context) { time.Sleep(5 * time.Millisecond) }) // what PostgreSQL takes
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	data, err := proto.Marshal(&enddevicev1.EndDevice{DeviceId: "another"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { // 500 times a second
		for tick := time.NewTicker(2 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			e.js.PublishMsgAsync(&nats.Msg{Subject: "end_devices.update", Data: data}) //nolint:errcheck // there are others
		}
	}()
	const devices, rounds = 20, 10
	for i := range devices {
		e.set(fmt.Sprintf("o-%d", i), `{}`)
	}
	for round := range rounds {
		for i := range devices {
			e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: fmt.Sprintf("o-%d", i)})
		}
		runtimetest.Eventually(t, 10*time.Second, func() error {
			s, err := e.js.Stream(t.Context(), "processed_envelopes")
			if err != nil || s.CachedInfo().State.Msgs < uint64(devices*(round+1)) {
				return errors.Join(errors.New("not all are converted"), err)
			}
			return nil
		})
	}
	asked := 0
	for i := range devices {
		asked += e.times(fmt.Sprintf("o-%d", i))
	}
	if asked > 3*devices {
		t.Errorf("%d devices with %d messages were asked for %d times", devices, devices*rounds, asked)
	}
}

// TestEventsBeginAgain deletes the stream of events and makes it again: the next event
// is heard, long before what is remembered gets too old.
func TestEventsBeginAgain(t *testing.T) {
	t.Parallel()
	e := start(t, convert.Cache{Size: 100, TTL: time.Hour})
	for range 50 {
		e.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "nobody"})
	}
	if err := e.js.DeleteStream(t.Context(), "end_devices"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := streams.Ensure(t.Context(), e.js, config.EndDeviceEvents()); err != nil {
		t.Fatal(err)
	}
	n := 0
	runtimetest.Eventually(t, 30*time.Second, func() error {
		n++
		e.set("o-1", fmt.Sprintf(`{"v": %d}`, n))
		e.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "o-1"})
		time.Sleep(200 * time.Millisecond)
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		time.Sleep(300 * time.Millisecond)
		if got := e.result(t, "o-1").Data.Fields["v"].GetNumberValue(); n < 3 || got != float64(n) { // the first fills the cache
			return fmt.Errorf("after change %d it is %v", n, got)
		}
		return nil
	})
}
