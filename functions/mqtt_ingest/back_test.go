package mqttingest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// TestBrokerComesBackAtOnce gives a gateway another broker, and the first one again before
// its session there has ended: what waits in that session is not lost.
func TestBrokerComesBackAtOnce(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	e.limit(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 }) // so that the session waits before it ends
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	first, _ := b.Clients.Get("ponix-g1")
	device := publisher(t, b.url)
	for _, payload := range []string{"one", "two"} {
		done(t, device.Publish("acme/thermometer", 1, false, payload))
	}
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return s.LastError != "" })
	const other = "mqtt://127.0.0.1:1"
	e.gateway(t, "update", "g1", other)
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return s.Gateway.GetEmqxConfig().GetBrokerUrl() == other })
	<-time.After(500 * time.Millisecond) // nothing tells that the session is about to end, which a busy instance may see late
	e.gateway(t, "update", "g1", b.url)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if c, there := b.Clients.Get("ponix-g1"); !there || c == first || c.Closed() {
			return errors.New("it has not connected again")
		}
		return nil
	})
	e.limit(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	e.stored(t, 10*time.Second, 2)
	e.wantDistinct(t, 2)
}
