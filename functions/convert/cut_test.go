package convert_test

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions/convert"
	"ponix/functions/internal/conversion"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/runtimetest"
)

// gate is a dialer that gets through while it is open.
type gate struct{ shut atomic.Bool }

func (g *gate) Dial(network, address string) (net.Conn, error) {
	if g.shut.Load() {
		return nil, errors.New("there is no way")
	}
	return net.Dial(network, address)
}

// TestEventsWhileCutOff cuts an instance that has heard no event yet off NATS for a moment,
// in which a device changes: that is in force afterwards, long before what is remembered
// gets too old.
func TestEventsWhileCutOff(t *testing.T) {
	t.Parallel()
	srv, way := runtimetest.NATSServer(t), &gate{}
	nc := runtimetest.Connect(t, srv, nats.SetCustomDialer(way), nats.ReconnectWait(50*time.Millisecond))
	e := begin(t, nc, convert.Cache{Size: 100, TTL: time.Hour}, conversion.Limits{})
	others, err := jetstream.New(runtimetest.Connect(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		s, err := others.Stream(t.Context(), "end_devices")
		if err != nil {
			return err
		}
		for c := range s.ListConsumers(t.Context()).Info() {
			if c.NumWaiting > 0 {
				return nil
			}
		}
		return errors.New("nobody waits for events")
	})
	e.set("o-1", `{"v": 0}`)
	asked := 0
	runtimetest.Eventually(t, 10*time.Second, func() error { // until what is remembered stays
		asked = e.times("o-1")
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		time.Sleep(100 * time.Millisecond)
		if n := e.times("o-1"); n == 0 || n > asked {
			return fmt.Errorf("it was asked for %d times", n)
		}
		return nil
	})
	way.shut.Store(true)
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if nc.IsConnected() {
			return errors.New("it is connected")
		}
		return nil
	})
	e.set("o-1", `{"v": 1}`)
	there := *e
	there.js = others
	there.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "o-1"})
	way.shut.Store(false)
	runtimetest.Eventually(t, 20*time.Second, func() error {
		there.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		time.Sleep(200 * time.Millisecond)
		if got := there.result(t, "o-1").Data.Fields["v"].GetNumberValue(); got != 1 {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}
