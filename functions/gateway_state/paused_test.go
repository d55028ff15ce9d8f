package gatewaystate_test

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// gate is a server whose connections stop where something is about to be sent, with
// all that follows: to everybody else, the instance behind it is paused.
type gate struct {
	*server.Server
	until atomic.Pointer[string] // what may not be sent
	once  sync.Once
	held  chan struct{} // closed when it has stopped
	open  chan struct{} // closed when it may go on
}

func newGate(srv *server.Server) *gate {
	return &gate{Server: srv, held: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) InProcessConn() (net.Conn, error) {
	c, err := g.Server.InProcessConn()
	return gated{c, g}, err
}

type gated struct {
	net.Conn
	gate *gate
}

func (g gated) Write(b []byte) (int, error) {
	if until := g.gate.until.Load(); until != nil && bytes.Contains(b, []byte(*until)) {
		g.gate.once.Do(func() { close(g.gate.held) })
		<-g.gate.open
	}
	return g.Conn.Write(b)
}

// What an instance sends when it works on an event.
const (
	reading = "PUB $JS.API.DIRECT.GET.KV_gateways."
	listing = "PUB $JS.API.CONSUMER.CREATE.KV_gateways."
	writing = "PUB $KV.gateways."
)

// change is an event of gateway g1.
type change struct{ event, name string }

func (c change) publish(t *testing.T, e *env) {
	t.Helper()
	g := gateway("g1", 0)
	g.Name = c.name
	switch c.event {
	case "truncate":
		c.event, g = "delete", &pb.Gateway{}
	case "soft delete":
		c.event, g.DeletedAt = "update", timestamppb.Now()
	}
	e.publish(t, c.event, g)
}

// TestPausedInstance stops an instance that has an event in hand, before it has read
// what there is or between that and writing. Another one applies the event
// and those after it; then the first one goes on, and must change nothing.
func TestPausedInstance(t *testing.T) {
	t.Parallel()
	create, old := change{"create", "first"}, change{"update", "old"}
	for _, test := range []struct {
		name   string
		until  string
		before []change
		inHand change
		after  []change
		want   string // name of the gateway; empty: it is gone
	}{
		{"create, before it reads", reading, nil, create, []change{{"update", "new"}}, "new"},
		{"create, before it writes", writing, nil, create, []change{{"update", "new"}}, "new"},
		{"update, before it reads", reading, []change{create}, old, []change{{"update", "newer"}, {"update", "new"}}, "new"},
		{"update, before it writes", writing, []change{create}, old, []change{{"update", "newer"}, {"update", "new"}}, "new"},
		{"the same again", reading, []change{create}, old, nil, "old"},
		{"create of what is deleted, before it reads", reading, nil, create, []change{{"delete", ""}}, ""},
		{"create of what is deleted, before it writes", writing, nil, create, []change{{"delete", ""}}, ""},
		{"update of what is deleted softly", reading, []change{create}, old, []change{{"soft delete", ""}}, ""},
		{"update of what is deleted, before it writes", writing, []change{create}, old, []change{{"delete", ""}}, ""},
		{"create of what was emptied, before it reads", reading, nil, create, []change{{"truncate", ""}}, ""},
		{"create of what was emptied, before it writes", writing, nil, create, []change{{"truncate", ""}}, ""},
		{"create after a deletion", writing, []change{create, {"delete", ""}}, create, []change{{"delete", ""}}, ""},
		{"delete of what is there again, before it reads", reading, []change{create}, change{"delete", ""}, []change{{"create", "new"}}, "new"},
		{"delete of what is there again, before it writes", writing, []change{create}, change{"delete", ""}, []change{{"create", "new"}}, "new"},
		{"delete of what never was, before it writes", writing, nil, change{"delete", ""}, []change{{"create", "new"}}, "new"},
		{"truncate, before it lists", listing, []change{create}, change{"truncate", ""}, []change{{"create", "new"}}, "new"},
		{"truncate, before it reads", reading, []change{create}, change{"truncate", ""}, []change{{"create", "new"}}, "new"},
		{"truncate, before it writes", writing, []change{create}, change{"truncate", ""}, []change{{"create", "new"}}, "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conf := config.Default[streams.Config]()
			conf.AckWait = 200 * time.Millisecond
			srv := runtimetest.NATSServer(t)
			g := newGate(srv)
			paused := instance(t, srv, conf, nats.InProcessServer(g))
			goOn := sync.OnceFunc(func() { close(g.open) })
			t.Cleanup(goOn)
			e := connect(t, srv)
			for _, c := range test.before {
				c.publish(t, e)
			}
			e.wantApplied(t, len(test.before))
			g.until.Store(&test.until)
			test.inHand.publish(t, e)
			<-g.held
			instance(t, srv, conf)
			for _, c := range test.after {
				c.publish(t, e)
			}
			all := len(test.before) + 1 + len(test.after)
			e.wantApplied(t, all)
			writes := e.writes(t)
			goOn()
			if err := paused.Stop(); err != nil { // waits until it has done what it does
				t.Fatal(err)
			}
			if n := e.writes(t); n != writes {
				t.Errorf("it has written %d times", n-writes)
			}
			e.wantApplied(t, all)
			if test.want == "" {
				e.wantGone(t, "g1")
				return
			}
			e.wantState(t, "g1", func(s *pb.GatewayState) bool {
				return s.Gateway.Name == test.want && len(s.ProtoReflect().GetUnknown()) == 0
			})
		})
	}
}

// wantApplied waits until so many events are settled, and nothing else is.
func (e *env) wantApplied(t *testing.T, n int) {
	t.Helper()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		c, err := e.js.Consumer(t.Context(), "gateways", streams.GatewayState)
		if err != nil {
			return err
		}
		if at := c.CachedInfo().AckFloor.Stream; at != uint64(n) {
			return fmt.Errorf("%d events are applied, want %d", at, n)
		}
		return nil
	})
}

// writes is how often the bucket was written to.
func (e *env) writes(t *testing.T) uint64 {
	t.Helper()
	s, err := e.js.Stream(t.Context(), "KV_gateways")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// TestInstanceThatIsGone has an event in hand that all others wait for: not as long
// as an envelope would.
func TestInstanceThatIsGone(t *testing.T) {
	t.Parallel()
	conf := config.Default[streams.Config]()
	srv := runtimetest.NATSServer(t)
	instance(t, srv, conf).Stop() //nolint:errcheck // it makes the streams
	e := connect(t, srv)
	change{"create", "roof"}.publish(t, e)
	killed := runtimetest.Connect(t, srv)
	js, err := jetstream.New(killed)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "gateways", streams.GatewayState)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(); err != nil {
		t.Fatal(err)
	}
	killed.Close()
	gone := time.Now()
	change{"update", "cellar"}.publish(t, e)
	instance(t, srv, conf)
	e.wantApplied(t, 2)
	if took := time.Since(gone); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestBucketWithoutPositions is of an older version: it says nothing of positions.
func TestBucketWithoutPositions(t *testing.T) {
	t.Parallel()
	e := start(t)
	connection := pb.ConnectionStatus_CONNECTION_STATUS_DISCONNECTED
	data, err := proto.Marshal(&pb.GatewayState{Gateway: gateway("g1", 0), Connection: connection, MessagesReceived: 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"g1", "g2", "g3"} {
		if _, err := e.states.Put(t.Context(), id, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.states.Purge(t.Context(), "g2", jetstream.PurgeTTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.states.Delete(t.Context(), "g3"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"g1", "g2", "g3"} {
		g := gateway(id, 0)
		g.Name = "cellar"
		e.publish(t, "create", g)
		e.wantState(t, id, func(s *pb.GatewayState) bool {
			return s.Gateway.Name == "cellar" && (id != "g1") == (s.MessagesReceived == 0)
		})
		e.publish(t, "delete", g)
		e.wantGone(t, id)
	}
}

// TestStreamThatBeginsAgain numbers its events from 1; they are later all the same.
func TestStreamThatBeginsAgain(t *testing.T) {
	t.Parallel()
	conf := config.Default[streams.Config]()
	srv := runtimetest.NATSServer(t)
	first := instance(t, srv, conf)
	e := connect(t, srv)
	for _, name := range []string{"one", "two", "three"} {
		change{"update", name}.publish(t, e)
	}
	e.wantApplied(t, 3)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := e.js.DeleteStream(t.Context(), "gateways"); err != nil {
		t.Fatal(err)
	}
	instance(t, srv, conf)
	change{"create", "four"}.publish(t, e)
	e.wantState(t, "g1", func(s *pb.GatewayState) bool { return s.Gateway.Name == "four" })
}
