package gatewaystate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// TestUnreadableState has somebody write into the bucket what is no state. It hides no other
// gateway, and the next event takes its place; so does the end of a snapshot that has no such
// gateway.
func TestUnreadableState(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publish(t, "create", gateway("good", 0))
	e.wantState(t, "good", func(*pb.GatewayState) bool { return true })
	for _, id := range []string{"changed", "deleted", "forgotten"} {
		if _, err := e.states.Put(t.Context(), id, []byte("\xff")); err != nil {
			t.Fatal(err)
		}
	}
	list, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme"})
	if err != nil || len(list.States) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
	e.publish(t, "update", gateway("changed", 0))
	e.wantState(t, "changed", func(*pb.GatewayState) bool { return true })
	e.publish(t, "delete", gateway("deleted", 0))
	e.complete(t, 1)
	for _, id := range []string{"deleted", "forgotten"} {
		runtimetest.Eventually(t, 10*time.Second, func() error {
			if _, err := e.GetGatewayState(t.Context(), &pb.GetGatewayStateRequest{GatewayId: id}); status.Code(err) != codes.NotFound {
				return fmt.Errorf("%s: %w", id, err)
			}
			return nil
		})
	}
}

// TestSnapshotOfAnotherStream ends a snapshot on a stream that has begun again: what the bucket
// has of events of the stream before, whatever their sequence, is gone.
func TestSnapshotOfAnotherStream(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publish(t, "create", gateway("kept", 0))
	const end = 2 // the sequence of the snapshot's end
	for _, sequence := range []int{end, 1000} {
		data, err := proto.Marshal(&pb.GatewayState{Gateway: gateway(fmt.Sprint(sequence), 0)})
		if err != nil {
			t.Fatal(err)
		}
		data = protowire.AppendTag(data, 1000, protowire.BytesType)
		data = protowire.AppendString(data, fmt.Sprintf("%d-1", sequence)) // stored long ago
		if _, err := e.states.Put(t.Context(), fmt.Sprint(sequence), data); err != nil {
			t.Fatal(err)
		}
	}
	e.complete(t, 1)
	e.wantGone(t, fmt.Sprint(end))
	e.wantGone(t, "1000")
	e.wantState(t, "kept", func(*pb.GatewayState) bool { return true })
}

// complete is the end of a snapshot that began at a sequence.
func (e *env) complete(t *testing.T, since int) {
	t.Helper()
	m := nats.NewMsg("gateways.update")
	m.Header.Set(streams.OperationHeader, streams.Complete)
	m.Header.Set(streams.SinceHeader, fmt.Sprint(since))
	if _, err := e.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// TestStateThatHasExpired is one of which the server has left a marker of its own, as it does
// of what says that a gateway is deleted: the gateway can be there again.
func TestStateThatHasExpired(t *testing.T) {
	t.Parallel()
	e := start(t)
	if _, err := e.states.Create(t.Context(), "g1", nil, jetstream.KeyTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	s, err := e.js.Stream(t.Context(), "KV_gateways")
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		m, err := s.GetLastMsgForSubject(t.Context(), "$KV.gateways.g1")
		if err == nil && m.Header.Get(jetstream.MarkerReasonHeader) == "" {
			err = fmt.Errorf("it has %v", m.Header)
		}
		return err
	})
	e.publish(t, "create", gateway("g1", 0))
	e.wantState(t, "g1", func(s *pb.GatewayState) bool { return s.Gateway.Name == "roof" })
}

// TestTraceOfADeletedGateway does not stay for ever: there would be more and more of them.
func TestTraceOfADeletedGateway(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publish(t, "delete", gateway("g1", 0))
	s, err := e.js.Stream(t.Context(), "KV_gateways")
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		m, err := s.GetLastMsgForSubject(t.Context(), "$KV.gateways.g1")
		if err == nil && m.Header.Get(jetstream.MsgTTLHeader) == "" {
			t.Fatalf("it stays: %v", m.Header)
		}
		return err
	})
}

// TestEventsOfNoGateway are dead letters at once: the events after them are applied.
func TestEventsOfNoGateway(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, id := range []string{"", "no key", "good"} {
		e.publish(t, "create", gateway(id, 0))
	}
	e.wantState(t, "good", func(*pb.GatewayState) bool { return true })
	if dead, err := e.js.Stream(t.Context(), "dead_letters"); err != nil || dead.CachedInfo().State.Msgs != 2 {
		t.Errorf("two events are no dead letters: %v", err)
	}
}
