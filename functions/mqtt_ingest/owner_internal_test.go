package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions/internal/broker"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// someGateway is one of organization acme.
func someGateway(id, brokerURL string) *pb.Gateway {
	return &pb.Gateway{GatewayId: id, OrganizationId: "acme", Config: &pb.Gateway_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: brokerURL}}}
}

// working is an owner with a lease and no gateways yet.
func working(t *testing.T) *owner {
	t.Helper()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	o := &owner{
		me: "me", ctx: ctx, log: slog.New(slog.DiscardHandler), view: newView(), js: js,
		sessions: map[string]*session{}, giving: map[string]bool{}, ended: make(chan string), quit: make(chan struct{}),
	}
	for kv, conf := range map[*jetstream.KeyValue]jetstream.KeyValueConfig{&o.leases: c.Leases(), &o.records: c.MQTTSessions()} {
		if *kv, err = js.CreateOrUpdateKeyValue(t.Context(), conf); err != nil {
			t.Fatal(err)
		}
	}
	if o.lease, err = newLease(t.Context(), js, o.leases, o.me, time.Hour); err != nil {
		t.Fatal(err)
	}
	o.view.instances["me"] = "1"
	return o
}

// session is one of a gateway that the owner has; cancelled is closed when it is to end.
func (o *owner) session(id string) (s *session, cancelled <-chan struct{}) {
	ctx, cancel := context.WithCancel(o.ctx)
	s = &session{gateway: someGateway(id, "mqtt://one"), cancel: cancel, done: make(chan struct{}), status: &status{}}
	s.broker, s.badURL = broker.Parse("mqtt://one")
	o.sessions[id] = s
	return s, ctx.Done()
}

// TestSessionEndsWithItsClaim has somebody else claim a gateway whose session runs here, and
// keeps that of another one.
func TestSessionEndsWithItsClaim(t *testing.T) {
	t.Parallel()
	o := working(t)
	o.view.instances["other"] = "2"
	lost, ended := o.session("lost")
	kept, _ := o.session("kept")
	for id, owner := range map[string]string{"lost": "other", "kept": "me"} {
		o.view.gateways[id] = known{state: &pb.GatewayState{Gateway: someGateway(id, "mqtt://one")}}
		o.view.claimed(id, claim{owner, 1})
	}
	o.reconcile()
	select {
	case <-ended:
	default:
		t.Error("the session of what another instance has goes on")
	}
	if lost.forget.Load() || kept.stopping {
		t.Errorf("forgotten: %v, and the other one stops: %v", lost.forget.Load(), kept.stopping)
	}
}

// TestGoneGatewayIsKeptUntilItsSessionHasEnded holds that nobody else can have a gateway that is
// deleted, and may be made again, as long as its session goes on.
func TestGoneGatewayIsKeptUntilItsSessionHasEnded(t *testing.T) {
	t.Parallel()
	o := working(t)
	if !o.claim("g1") {
		t.Fatal("it was not claimed")
	}
	o.session("g1")
	there := func() bool {
		_, err := o.leases.Get(t.Context(), streams.GatewayLease("g1"))
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	if o.reconcile(); !there() {
		t.Error("the claim is gone, and the session is not")
	}
	delete(o.sessions, "g1")
	if o.reconcile(); there() {
		t.Error("the claim stays")
	}
}

// TestWhatASessionForgets has a gateway change while its session ends: what waits at the broker is
// given up only where the gateway, as it is then, has no more to do with it.
func TestWhatASessionForgets(t *testing.T) {
	t.Parallel()
	o := working(t)
	s, _ := o.session("g1")
	o.view.claimed("g1", claim{o.me, 1})
	for _, step := range []struct {
		url     string // empty: it is deleted
		forgets bool
	}{{"mqtt://two", true}, {"mqtt://user:password@one", false}, {"", true}, {"mqtt://one", false}} {
		delete(o.view.gateways, "g1")
		if step.url != "" {
			o.view.gateways["g1"] = known{state: &pb.GatewayState{Gateway: someGateway("g1", step.url)}}
		}
		if o.reconcile(); !s.stopping || s.forget.Load() != step.forgets {
			t.Errorf("at %q: it stops: %v, and forgets: %v", step.url, s.stopping, s.forget.Load())
		}
	}
}

// TestClaimsNoMoreThanItsShare has two instances find gateways that nobody has: one claims half
// of them, counts their sessions, and gives one back where there are more instances.
func TestClaimsNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	o := working(t)
	o.view.instances["other"] = "2"
	for i := range 4 {
		id := fmt.Sprint("g", i)
		o.view.gateways[id] = known{state: &pb.GatewayState{Gateway: someGateway(id, "nonsense")}} // so that it does not connect
	}
	o.reconcile()
	if mine := o.view.share("me").mine; len(mine) != 2 || len(o.sessions) != 2 || o.running.Load() != 2 {
		t.Errorf("it has %v, %d sessions and counts %d", mine, len(o.sessions), o.running.Load())
	}
	for _, joined := range []string{"3", "4"} {
		o.view.instances[joined] = joined
	}
	for o.reconcile() {
	}
	select {
	case id := <-o.ended:
		delete(o.sessions, id)
	case <-time.After(20 * time.Second):
		t.Fatal("it keeps more than its share")
	}
	o.reconcile()
	if mine := o.view.share("me").mine; len(mine) != 1 || len(o.sessions) != 1 || o.running.Load() != 1 || len(o.giving) > 0 {
		t.Errorf("it has %v, %d sessions and counts %d; it gives %v", mine, len(o.sessions), o.running.Load(), o.giving)
	}
	if err := o.close(); err != nil {
		t.Error(err)
	}
}

// TestLeaseEndsAfterItsSessions holds that others can take over what an instance has no sooner
// than its sessions have ended.
func TestLeaseEndsAfterItsSessions(t *testing.T) {
	t.Parallel()
	o := working(t)
	s, ended := o.session("g1")
	closed := make(chan error, 1)
	go func() { closed <- o.close() }()
	<-ended
	select {
	case err := <-closed:
		t.Fatalf("it is closed with %v, and a session has not ended", err)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := o.leases.Get(t.Context(), o.lease.key); err != nil {
		t.Errorf("the lease: %v", err)
	}
	close(s.done)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := o.leases.Get(t.Context(), o.lease.key); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lease is still there: %v", err)
	}
}

// TestWhereASessionStays tells what a session has to end for, and what ends it for good.
func TestWhereASessionStays(t *testing.T) {
	t.Parallel()
	s := &session{gateway: someGateway("g1", "mqtt://user:old@one")}
	s.broker, s.badURL = broker.Parse("mqtt://user:old@one")
	for name, tt := range map[string]struct {
		is            *pb.Gateway
		serves, stays bool
	}{
		"the same":             {someGateway("g1", "mqtt://user:old@one"), true, true},
		"another password":     {someGateway("g1", "mqtt://user:new@one"), false, true},
		"another broker":       {someGateway("g1", "mqtt://user:old@two"), false, false},
		"nonsense":             {someGateway("g1", "nonsense"), false, false},
		"another organization": {&pb.Gateway{GatewayId: "g1", OrganizationId: "other", Config: s.gateway.Config}, false, false},
	} {
		if serves, stays := s.serves(tt.is), s.staysAt(tt.is); serves != tt.serves || stays != tt.stays {
			t.Errorf("%s: serves %v, stays %v", name, serves, stays)
		}
	}
}

// TestBackoff holds that delays grow up to their limit, and stay there.
func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt, most := range map[int]time.Duration{1: 500 * time.Millisecond, 3: 2 * time.Second, 7: brokerDelay, 1 << 20: brokerDelay} {
		if d := backoff(attempt, brokerDelay); d < most/2 || d > most {
			t.Errorf("attempt %d waits %v, want up to %v", attempt, d, most)
		}
	}
}
