package gatewaystate_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	gatewaystate "ponix/functions/gateway_state"
	"ponix/functions/internal/functiontest"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

type env struct {
	pb.GatewayStateServiceClient
	js     jetstream.JetStream
	states jetstream.KeyValue
	leases jetstream.KeyValue
}

// start runs two instances of the function.
func start(t *testing.T) *env {
	t.Helper()
	srv := runtimetest.NATSServer(t)
	for range 2 {
		instance(t, srv, config.Default[streams.Config]())
	}
	return connect(t, srv)
}

// instance starts an instance of the function, with streams as conf says.
func instance(t *testing.T, srv *server.Server, conf streams.Config, options ...nats.Option) *runtime.Host {
	t.Helper()
	nc := runtimetest.Connect(t, srv, options...)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: config.Default[streams.Config](), Logger: slog.New(slog.DiscardHandler)}, gatewaystate.New(js, conf))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// connect is for a test to see what the instances do.
func connect(t *testing.T, srv *server.Server) *env {
	t.Helper()
	nc := runtimetest.Connect(t, srv)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	e := &env{GatewayStateServiceClient: pb.NewGatewayStateServiceClient(wire.NewClient(nc)), js: js}
	for bucket, kv := range map[string]*jetstream.KeyValue{"gateways": &e.states, "leases": &e.leases} {
		if *kv, err = js.KeyValue(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func gateway(id string, n int) *pb.Gateway {
	return &pb.Gateway{
		GatewayId: id, OrganizationId: "acme", Name: "roof", Type: pb.GatewayType_GATEWAY_TYPE_EMQX, CreatedAt: timestamppb.New(epoch.Add(time.Duration(n) * time.Second)),
		Config: &pb.Gateway_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: "mqtt://user:secret@broker"}},
	}
}

func (e *env) publish(t *testing.T, what string, g *pb.Gateway) {
	t.Helper()
	data, err := proto.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.Publish(t.Context(), "gateways."+what, data); err != nil {
		t.Fatal(err)
	}
}

// wantState waits until a gateway's state is as ok says.
func (e *env) wantState(t *testing.T, id string, ok func(*pb.GatewayState) bool) {
	t.Helper()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		resp, err := e.GetGatewayState(t.Context(), &pb.GetGatewayStateRequest{GatewayId: id})
		if err == nil && !ok(resp.State) {
			err = fmt.Errorf("the state is %v", resp.State)
		}
		return err
	})
}

func (e *env) wantGone(t *testing.T, id string) {
	t.Helper()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		_, err := e.GetGatewayState(t.Context(), &pb.GetGatewayStateRequest{GatewayId: id})
		if err == nil {
			return fmt.Errorf("%s is there", id)
		}
		functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
		return nil
	})
}

func TestStateFollowsTheEvents(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publish(t, "create", gateway("g1", 0))
	e.wantState(t, "g1", func(s *pb.GatewayState) bool {
		return s.Gateway.Name == "roof" && s.Connection == pb.ConnectionStatus_CONNECTION_STATUS_STOPPED && s.Owner == "" &&
			s.Gateway.GetEmqxConfig().BrokerUrl == "mqtt://user:xxxxx@broker"
	})
	// Many changes in a row: the last one counts, whoever handles them.
	for i := range 100 {
		g := gateway("g1", 0)
		g.Name = fmt.Sprintf("name %d", i)
		e.publish(t, "update", g)
	}
	e.wantState(t, "g1", func(s *pb.GatewayState) bool { return s.Gateway.Name == "name 99" })
	gone := gateway("g1", 0)
	gone.DeletedAt = timestamppb.Now()
	e.publish(t, "update", gone)
	e.wantGone(t, "g1")
	e.publish(t, "create", gateway("g1", 0)) // such as an undone deletion
	e.wantState(t, "g1", func(s *pb.GatewayState) bool { return s.Gateway.Name == "roof" })
	e.publish(t, "delete", gateway("g1", 0))
	e.wantGone(t, "g1")
	e.publish(t, "create", gateway("g2", 0))
	e.publish(t, "create", gateway("g3", 0))
	e.publish(t, "delete", &pb.Gateway{}) // TRUNCATE
	e.publish(t, "create", gateway("g4", 0))
	e.wantState(t, "g4", func(*pb.GatewayState) bool { return true })
	e.wantGone(t, "g2")
	e.wantGone(t, "g3")
}

// TestSnapshotInTheMiddle has a snapshot in the place of a lost slot: a gateway that
// nothing has told of since it began is gone.
func TestSnapshotInTheMiddle(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, id := range []string{"gone", "kept"} {
		e.publish(t, "create", gateway(id, 0))
	}
	e.publish(t, "create", gateway("kept", 0))
	m := nats.NewMsg("gateways.update")
	m.Header.Set(streams.OperationHeader, streams.Complete)
	for _, since := range []string{"", "3"} { // without it, nobody knows of what it is the end
		m.Header.Set(streams.SinceHeader, since)
		if _, err := e.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	e.publish(t, "create", gateway("new", 0))
	e.wantState(t, "new", func(*pb.GatewayState) bool { return true })
	e.wantState(t, "kept", func(*pb.GatewayState) bool { return true })
	e.wantGone(t, "gone")
	if dead, err := e.js.Stream(t.Context(), "dead_letters"); err != nil || dead.CachedInfo().State.Msgs != 1 {
		t.Errorf("the event that says nothing is no dead letter: %v", err)
	}
}

// TestConnectionIsKept holds that an event leaves what mqtt-ingest reports, and
// that an owner counts only while its lease lives.
func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publish(t, "create", gateway("g1", 0))
	e.wantState(t, "g1", func(*pb.GatewayState) bool { return true })
	if _, err := e.leases.Create(t.Context(), streams.InstanceLease("me"), nil, jetstream.KeyTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	entry, err := e.states.Get(t.Context(), "g1")
	if err != nil {
		t.Fatal(err)
	}
	state := &pb.GatewayState{}
	if err := proto.Unmarshal(entry.Value(), state); err != nil {
		t.Fatal(err)
	}
	state.Owner, state.Connection, state.MessagesReceived = "me", pb.ConnectionStatus_CONNECTION_STATUS_CONNECTED, 7
	data, err := proto.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.states.Update(t.Context(), "g1", data, entry.Revision()); err != nil {
		t.Fatal(err)
	}
	changed := gateway("g1", 0)
	changed.Name = "cellar"
	e.publish(t, "update", changed)
	e.wantState(t, "g1", func(s *pb.GatewayState) bool {
		return s.Gateway.Name == "cellar" && s.MessagesReceived == 7
	})
	e.wantState(t, "g1", func(s *pb.GatewayState) bool {
		return s.Owner == "" && s.Connection == pb.ConnectionStatus_CONNECTION_STATUS_DISCONNECTED
	})
	list, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme"})
	if err != nil || len(list.States) != 1 || list.States[0].Owner != "" {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestListIsPaged(t *testing.T) {
	t.Parallel()
	e := start(t)
	const total = 25
	for i := range total {
		e.publish(t, "create", gateway(fmt.Sprintf("g%d", i), i/2)) // pairs of the same age
	}
	other := gateway("other", 0)
	other.OrganizationId = "other"
	e.publish(t, "create", other)
	e.wantState(t, "other", func(*pb.GatewayState) bool { return true })
	seen := map[string]bool{}
	last := epoch.Add(time.Hour)
	for token, pages := "", 0; ; pages++ {
		resp, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme", PageSize: 10, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range resp.States {
			if at := s.Gateway.CreatedAt.AsTime(); at.After(last) || seen[s.Gateway.GatewayId] {
				t.Errorf("%s is out of order, or twice", s.Gateway.GatewayId)
			}
			seen[s.Gateway.GatewayId], last = true, s.Gateway.CreatedAt.AsTime()
		}
		if token = resp.NextPageToken; token == "" {
			if pages != 2 || len(seen) != total {
				t.Errorf("%d gateways on %d pages", len(seen), pages+1)
			}
			break
		}
	}
	_, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "other", PageToken: "no token"})
	functiontest.WantInvalid(t, err, "page_token")
}

// TestDeletedBucket makes the bucket again with the next event.
func TestDeletedBucket(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publish(t, "create", gateway("g1", 0))
	e.wantState(t, "g1", func(*pb.GatewayState) bool { return true })
	if err := e.js.DeleteKeyValue(t.Context(), "gateways"); err != nil {
		t.Fatal(err)
	}
	g := gateway("g1", 0)
	g.Name = "again"
	e.publish(t, "update", g)
	e.wantState(t, "g1", func(s *pb.GatewayState) bool { return s.Gateway.Name == "again" })
}
