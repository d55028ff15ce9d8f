package mqttingest_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/functiontest"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// TestMessageBecomesEnvelope follows a gateway from its creation to its end.
func TestMessageBecomesEnvelope(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	first, second := broker(t, ""), broker(t, "")
	e.gateway(t, "create", "g1", first.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	before := time.Now()
	device := publisher(t, first.url)
	done(t, device.Publish("acme/thermometer", 1, false, []byte{1, 0x67, 1, 0x10}))
	done(t, device.Publish("acme/empty", 0, false, []byte{}))
	e.stored(t, 20*time.Second, 2)
	all := e.envelopes(t)
	got := all[0]
	if got.OrganizationId != "acme" || got.DeviceId != "thermometer" || !bytes.Equal(got.Payload, []byte{1, 0x67, 1, 0x10}) ||
		got.ReceivedAt.AsTime().Before(before) || time.Since(got.ReceivedAt.AsTime()) > time.Minute {
		t.Errorf("got %v", got)
	}
	if all[1].DeviceId != "empty" || len(all[1].Payload) != 0 {
		t.Errorf("got %v", all[1])
	}
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return s.MessagesReceived == 2 && s.LastMessageAt != nil })

	wantPosition(t, e)

	moved := time.Now()
	e.gateway(t, "update", "g1", second.url)
	runtimetest.Eventually(t, 3*time.Second, func() error {
		// A broker keeps nothing for a session that has not subscribed yet.
		if c, there := second.Clients.Get("ponix-g1"); !there || len(c.State.Subscriptions.GetAll()) == 0 {
			return fmt.Errorf("not moved after %v", time.Since(moved))
		}
		return nil
	})
	done(t, publisher(t, second.url).Publish("acme/thermometer", 1, false, "moved"))
	e.stored(t, 3*time.Second, 3)
	wantSession(t, first, false)

	e.gateway(t, "softdelete", "g1", second.url)
	wantSession(t, second, false)
	_, err := e.GetGatewayState(t.Context(), &pb.GetGatewayStateRequest{GatewayId: "g1"})
	functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
}

// wantPosition holds that a report has left what gateway-state notes for itself: of
// which event gateway g1 is.
func wantPosition(t *testing.T, e *env) {
	t.Helper()
	kv, err := e.js.KeyValue(t.Context(), conf.GatewayStates().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), "g1")
	if err != nil {
		t.Fatal(err)
	}
	state := &pb.GatewayState{}
	if err := proto.Unmarshal(entry.Value(), state); err != nil || state.MessagesReceived != 2 || len(state.ProtoReflect().GetUnknown()) == 0 {
		t.Errorf("got %v, %v", state, err)
	}
}

// wantSession waits until the broker has a client connected, or no session any
// more, of gateway g1.
func wantSession(t *testing.T, b *mqttBroker, want bool) {
	t.Helper()
	runtimetest.Eventually(t, 3*time.Second, func() error {
		c, there := b.Clients.Get("ponix-g1")
		if there && !want && c.Closed() && len(c.State.Subscriptions.GetAll()) == 0 {
			there = false
		}
		if there != want {
			return fmt.Errorf("session: %v", there)
		}
		return nil
	})
}

// TestRefusedMessages holds that what cannot become an envelope is acknowledged,
// counted and logged, and nothing else.
func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	device := publisher(t, b.url)
	for topic, size := range map[string]int{
		"acme/": 1, "/acme/x": 1, "acme/a/b": 1, "acme/a b": 1, "acme/" + strings.Repeat("x", 65): 1, "äcme/x": 1, // bad topics
		"other/x":   1,
		"acme/big":  256<<10 + 1,
		"acme/huge": 3 << 20,
	} {
		done(t, device.Publish(topic, 1, false, make([]byte, size)))
	}
	done(t, device.Publish("acme/fits", 1, false, make([]byte, 256<<10)))
	e.stored(t, 10*time.Second, 1)
	if all := e.envelopes(t); len(all) != 1 || all[0].DeviceId != "fits" || len(all[0].Payload) != 256<<10 {
		t.Errorf("got %d envelopes", len(all))
	}
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return s.MessagesReceived == 10 && connected(s) })
	runtimetest.Eventually(t, 20*time.Second, func() error {
		c, _ := b.Clients.Get("ponix-g1")
		if n := c.State.Inflight.Len(); n != 0 {
			return fmt.Errorf("%d messages are not acknowledged", n)
		}
		if text := e.log.String(); strings.Count(text, "messages of a gateway are not taken") != 1 {
			return fmt.Errorf("the log has %s", text)
		}
		return nil
	})
}
