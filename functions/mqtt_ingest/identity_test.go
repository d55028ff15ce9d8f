package mqttingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// records is the bucket in which owners note what the next one must know.
func records(t *testing.T) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), config.Default[streams.Config]().MQTTSessions())
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// sent is a message as a broker sends it.
func sent(packet uint16, payload string, duplicate bool) message {
	return message{topic: "acme/thermometer", payload: []byte(payload), qos: 1, packet: packet, duplicate: duplicate}
}

func mustID(t *testing.T, i *identity, m message) string {
	t.Helper()
	id, err := i.of(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func begin(t *testing.T, kv jetstream.KeyValue, i *identity, resumed bool) *identity {
	t.Helper()
	if i == nil {
		i = &identity{kv: kv, gateway: "g1"}
	}
	if err := i.begin(t.Context(), resumed); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestWhatComesAgainHasItsID(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first := begin(t, kv, nil, false)
	one, two := mustID(t, first, sent(1, "20.5", false)), mustID(t, first, sent(2, "20.5", false))
	if one == two {
		t.Fatal("two messages with one id")
	}
	// The owner dies; the next one gets both again, and a third.
	second := begin(t, kv, nil, true)
	if got := mustID(t, second, sent(1, "20.5", true)); got != one {
		t.Errorf("got %s, want %s", got, one)
	}
	three := mustID(t, second, sent(3, "20.5", false))
	if got := mustID(t, second, sent(2, "20.5", true)); got != two {
		t.Errorf("got %s, want %s", got, two)
	}
	// The broker counts from one again on the second connection.
	again := mustID(t, second, sent(4, "20.5", false))
	second.acknowledged(1, one)
	fresh := mustID(t, second, sent(1, "20.5", false))
	if fresh == one || again == three {
		t.Error("a new message has an old id")
	}
	// The same owner connects again: what it has not acknowledged keeps its id,
	// even if it is older than the connection before.
	begin(t, kv, second, true)
	for want, m := range map[string]message{two: sent(2, "20.5", true), three: sent(3, "20.5", true)} {
		if got := mustID(t, second, m); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// A packet id that is in use with other content is another message.
	if got := mustID(t, second, sent(3, "21.0", true)); got == three {
		t.Error("another message has the same id")
	}
	if there := sent(3, "21.0", true); there.hash() == (message{topic: "acme/other", payload: there.payload}).hash() {
		t.Error("another topic is the same content")
	}
	// A broker that has lost the session sends nothing again.
	third := begin(t, kv, nil, false)
	if got := mustID(t, third, sent(1, "20.5", true)); got == fresh || got == one {
		t.Error("a new message has an old id")
	}
	if a, b := mustID(t, third, message{topic: "a/b"}), mustID(t, third, message{topic: "a/b"}); a == b {
		t.Error("two messages of QoS 0 with one id")
	}
}

// TestLateAcknowledgement has a packet id be another's by the time that the message before
// is acknowledged: what has the id now keeps its own.
func TestLateAcknowledgement(t *testing.T) {
	t.Parallel()
	i := begin(t, records(t), nil, false)
	one := mustID(t, i, sent(1, "20.5", false))
	two := mustID(t, i, sent(1, "21.0", false))
	i.acknowledged(1, one)
	if got := mustID(t, i, sent(1, "21.0", true)); got != two {
		t.Errorf("got %s, want %s", got, two)
	}
}

// TestAnswerIsLost has a write of the record come through whose answer does not: the next
// connection goes on from there.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	kv := records(t)
	i := begin(t, kv, nil, false)
	e, err := kv.Get(t.Context(), "g1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "g1", e.Value()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.subscribe(ctx, everything); err == nil {
		t.Fatal("it was written after all")
	}
	begin(t, kv, i, true)
}

// TestWhatIsNotHandled has messages come to an instance that gives its gateways back, or
// that has lost them: none is taken, and another instance gets them.
func TestWhatIsNotHandled(t *testing.T) {
	t.Parallel()
	ack := func() { t.Error("it was acknowledged") }
	for name, want := range map[string]error{"draining": nil, "not owned": errNotOwned} {
		s := &session{owned: func() bool { return name != "not owned" }, status: &status{}, gateway: &pb.Gateway{OrganizationId: "acme"}}
		l := newLink(nil)
		close(l.ready)
		l.draining.Store(name == "draining")
		s.receive(l, message{topic: "nonsense", qos: 1, packet: 1}, ack)
		if len(l.queue) > 0 || l.gone() != (want != nil) || !errors.Is(l.err, want) {
			t.Errorf("%s: %d are under way, and the link has ended with %v", name, len(l.queue), l.err)
		}
	}
}

// TestGatewayComesBack deletes a gateway, of which nothing is noted then, and brings it
// back: its messages have other ids than before, although all begins again.
func TestGatewayComesBack(t *testing.T) {
	t.Parallel()
	kv := records(t)
	before := mustID(t, begin(t, kv, nil, false), sent(1, "20.5", false))
	if err := kv.Purge(t.Context(), "g1"); err != nil {
		t.Fatal(err)
	}
	if after := mustID(t, begin(t, kv, nil, false), sent(1, "20.5", false)); after == before {
		t.Errorf("both are %s", after)
	}
}

// TestAnotherBrokerHasNothing holds that what was asked of the broker before, and what it sent,
// is nothing at another one, also where that claims to have kept a session.
func TestAnotherBrokerHasNothing(t *testing.T) {
	t.Parallel()
	kv := records(t)
	at := func(broker string) *identity {
		return begin(t, kv, &identity{kv: kv, gateway: "g1", broker: broker}, true)
	}
	first := at("one:1883")
	if err := first.subscribe(t.Context(), everything); err != nil {
		t.Fatal(err)
	}
	old := mustID(t, first, sent(1, "20.5", false))
	if got := at("one:1883").subscribed(); got != everything {
		t.Errorf("the same broker has %q", got)
	}
	second := at("two:1883")
	if got := second.subscribed(); got != "" {
		t.Errorf("another broker has %q", got)
	}
	if got := mustID(t, second, sent(1, "20.5", true)); got == old {
		t.Error("its message has the id of another broker's")
	}
}

// TestPacketIDsBeginAgain goes round once with a message that never changes.
func TestPacketIDsBeginAgain(t *testing.T) {
	t.Parallel()
	i := begin(t, records(t), nil, false)
	began := i.saved.Epoch
	seen := map[string]bool{}
	const total = packetIDs + 1000
	for n := range total {
		packet := uint16(n%(packetIDs-1) + 1)
		id := mustID(t, i, sent(packet, "20.5", false))
		seen[id] = true
		i.acknowledged(packet, id)
	}
	if len(seen) != total || i.saved.Epoch != began+3 || i.saved.Reuses || len(i.open) != 0 {
		t.Errorf("%d ids for %d messages, %+v", len(seen), total, i.saved)
	}
}

// TestBrokerThatReusesPacketIDs always gives the lowest that is free.
func TestBrokerThatReusesPacketIDs(t *testing.T) {
	t.Parallel()
	kv := records(t)
	i := begin(t, kv, nil, false)
	seen := map[string]bool{}
	for range 100 {
		id := mustID(t, i, sent(1, "20.5", false))
		seen[id] = true
		i.acknowledged(1, id)
	}
	next := begin(t, kv, nil, true)
	seen[mustID(t, next, sent(1, "20.5", true))] = true
	if len(seen) != 101 || !next.saved.Reuses {
		t.Errorf("%d ids for 101 messages", len(seen))
	}
}

func TestOneOwnerWritesTheRecord(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first, second := begin(t, kv, nil, false), begin(t, kv, nil, false)
	mustID(t, second, sent(1, "x", false))
	if _, err := first.of(t.Context(), sent(1, "x", false)); !errors.Is(err, errOtherOwner) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	begin(t, kv, first, true)
	if _, err := first.of(ended, sent(1, "x", false)); err == nil || errors.Is(err, errOtherOwner) {
		t.Errorf("got %v", err)
	}
	begin(t, kv, first, true)
	mustID(t, first, sent(1, "x", false))
}

// pipe is a connection that has data to read.
type pipe struct {
	net.Conn
	io.Reader
}

func (p pipe) Read(b []byte) (int, error) { return p.Reader.Read(b) }

// TestFrames holds that a packet costs no more than maxPacket.
func TestFrames(t *testing.T) {
	t.Parallel()
	length := func(n int) []byte {
		return []byte{byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n >> 21)}
	}
	huge := append(append([]byte{0x32}, length(5<<20)...), bytes.Repeat([]byte("x"), 5<<20)...)
	small := []byte{0x30, 3, 'a', 'b', 'c', 0xd0, 0}
	in := append(append(bytes.Clone(small), huge...), small...)
	got, err := io.ReadAll(newFrames(pipe{Reader: bytes.NewReader(in)}, &budget{}, func(error) {}))
	want := append(append(bytes.Clone(small), 0x32), 0x80, 0x80, 0x18)
	want = append(append(want, bytes.Repeat([]byte("x"), maxPacket)...), small...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
	}
	for _, bad := range [][]byte{append([]byte{0x20}, length(1<<20)...), {0x30, 0xff, 0xff, 0xff, 0xff, 0x01}} {
		if _, err := io.ReadAll(newFrames(pipe{Reader: bytes.NewReader(bad)}, &budget{}, func(error) {})); !errors.Is(err, errPacket) {
			t.Errorf("% x: %v", bad, err)
		}
	}
	if _, err := io.ReadAll(newFrames(pipe{Reader: strings.NewReader("0")}, &budget{}, func(error) {})); err != nil {
		t.Errorf("got %v", err)
	}
}
