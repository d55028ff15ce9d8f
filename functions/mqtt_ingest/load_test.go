package mqttingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// TestFloodStaysAtItsGateway publishes to one gateway as fast as it can, and
// meanwhile to another.
func TestFloodStaysAtItsGateway(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	flooded, calm := broker(t, ""), broker(t, "")
	e.gateway(t, "create", "flooded", flooded.url)
	e.gateway(t, "create", "calm", calm.url)
	e.wantState(t, 20*time.Second, "flooded", connected)
	e.wantState(t, 20*time.Second, "calm", connected)
	stop, stopped := make(chan struct{}), make(chan struct{})
	device := publisher(t, flooded.url)
	go func() {
		defer close(stopped)
		payload := make([]byte, 10_000)
		for {
			select {
			case <-stop:
				return
			default:
				device.Publish("acme/noisy", 0, false, payload).WaitTimeout(time.Second)
			}
		}
	}()
	e.wantState(t, 20*time.Second, "flooded", func(s *pb.GatewayState) bool { return s.MessagesReceived > 500 })
	quiet := publisher(t, calm.url)
	for i := range 10 {
		began := time.Now()
		device := fmt.Sprintf("quiet%d", i)
		done(t, quiet.Publish("acme/"+device, 1, false, "x"))
		runtimetest.Eventually(t, 20*time.Second, func() error {
			s, err := e.js.Stream(t.Context(), conf.Raw)
			if err == nil {
				_, err = s.GetLastMsgForSubject(t.Context(), conf.Raw+".acme."+device)
			}
			return err
		})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	}
	close(stop)
	<-stopped
}

// TestFullStreamHoldsBack holds that nothing is acknowledged which JetStream does
// not take, that the state says so, and that all comes when there is room again.
func TestFullStreamHoldsBack(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	e.limit(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 })
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	device := publisher(t, b.url)
	const total = 1000
	for i := range total {
		done(t, device.Publish("acme/thermometer", 1, false, fmt.Sprint(i)))
	}
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool {
		// What is not stored is received up to the window.
		return strings.Contains(s.LastError, "maximum messages exceeded") && connected(s) && s.MessagesReceived < 300
	})
	e.limit(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	e.stored(t, 30*time.Second, total)
	e.wantDistinct(t, total)
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return s.LastError == "" })
}

// TestStreamTakesLess has somebody set the stream to take small messages only: one that is
// larger does not hold up what its gateway sends after it.
func TestStreamTakesLess(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	e.limit(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1_000 })
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	device := publisher(t, b.url)
	done(t, device.Publish("acme/large", 1, false, make([]byte, 1_000)))
	done(t, device.Publish("acme/fits", 1, false, "x"))
	runtimetest.Eventually(t, 10*time.Second, func() error {
		c, _ := b.Clients.Get("ponix-g1")
		if n := c.State.Inflight.Len(); n != 0 {
			return fmt.Errorf("%d messages are not acknowledged", n)
		}
		if text := e.log.String(); !strings.Contains(text, "too_large_for_nats=1") {
			return fmt.Errorf("the log has %s", text)
		}
		return nil
	})
	e.stored(t, 10*time.Second, 1)
}
