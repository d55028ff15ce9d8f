package mqttingest_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	gatewaystate "ponix/functions/gateway_state"
	mqttingest "ponix/functions/mqtt_ingest"
	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

var conf = config.Default[streams.Config]()

// env is a server with gateway-state, and instances of mqtt-ingest as a test
// starts them.
type env struct {
	pb.GatewayStateServiceClient
	srv *server.Server
	js  jetstream.JetStream
	log *runtimetest.Text // of the hosts
}

func start(t *testing.T) *env {
	t.Helper()
	e := &env{srv: runtimetest.NATSServer(t), log: &runtimetest.Text{}}
	nc := runtimetest.Connect(t, e.srv)
	var err error
	if e.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	e.GatewayStateServiceClient = pb.NewGatewayStateServiceClient(wire.NewClient(nc))
	e.host(t, gatewaystate.New(e.js, conf))
	return e
}

func (e *env) host(t *testing.T, fns ...runtime.Function) *runtime.Host {
	t.Helper()
	h, err := runtime.Start(t.Context(), runtime.Config{
		Conn: runtimetest.Connect(t, e.srv), Streams: conf, Grace: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(e.log, nil)),
	}, fns...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Stop() }) //nolint:errcheck // a test may have stopped it
	return h
}

// instance starts an instance of mqtt-ingest.
func (e *env) instance(t *testing.T, change ...func(*mqttingest.Config)) *runtime.Host {
	t.Helper()
	nc := runtimetest.Connect(t, e.srv)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := mqttingest.Config{Lease: 2 * time.Second}
	for _, f := range change {
		f(&c)
	}
	return e.host(t, mqttingest.New(nc, js, conf, c))
}

// gateway publishes an event of a gateway of organization acme.
func (e *env) gateway(t *testing.T, event, id, brokerURL string) {
	t.Helper()
	g := &pb.Gateway{
		GatewayId: id, OrganizationId: "acme", Name: id, Type: pb.GatewayType_GATEWAY_TYPE_EMQX, CreatedAt: timestamppb.Now(),
		Config: &pb.Gateway_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: brokerURL}},
	}
	if event == "softdelete" {
		event, g.DeletedAt = "update", timestamppb.Now()
	}
	data, err := proto.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.Publish(t.Context(), "gateways."+event, data); err != nil {
		t.Fatal(err)
	}
}

// wantState waits until a gateway's state is as ok says.
func (e *env) wantState(t *testing.T, within time.Duration, id string, ok func(*pb.GatewayState) bool) *pb.GatewayState {
	t.Helper()
	var state *pb.GatewayState
	runtimetest.Eventually(t, within, func() error {
		resp, err := e.GetGatewayState(t.Context(), &pb.GetGatewayStateRequest{GatewayId: id})
		if err != nil {
			return err
		}
		if state = resp.State; !ok(state) {
			return fmt.Errorf("the state is %v", state)
		}
		return nil
	})
	return state
}

func connected(s *pb.GatewayState) bool {
	return s.Connection == pb.ConnectionStatus_CONNECTION_STATUS_CONNECTED && s.Owner != ""
}

func failing(s *pb.GatewayState) bool {
	return s.Connection == pb.ConnectionStatus_CONNECTION_STATUS_DISCONNECTED && s.LastError != ""
}

// envelopes reads all raw envelopes.
func (e *env) envelopes(t *testing.T) []*envelopev1.RawEnvelope {
	t.Helper()
	s, err := e.js.Stream(t.Context(), conf.Raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var all []*envelopev1.RawEnvelope
	for range s.CachedInfo().State.Msgs {
		m, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		raw := &envelopev1.RawEnvelope{}
		if err := proto.Unmarshal(m.Data(), raw); err != nil {
			t.Fatal(err)
		}
		if want := conf.Raw + "." + raw.OrganizationId + "." + raw.DeviceId; m.Subject() != want {
			t.Fatalf("on %s, want %s", m.Subject(), want)
		}
		all = append(all, raw)
	}
	return all
}

// limit changes what the stream of raw envelopes takes.
func (e *env) limit(t *testing.T, change func(*jetstream.StreamConfig)) {
	t.Helper()
	runtimetest.Alter(t, e.js, conf.Raw, change)
}

// stored waits until so many envelopes are on the stream.
func (e *env) stored(t *testing.T, within time.Duration, n uint64) {
	t.Helper()
	runtimetest.Eventually(t, within, func() error {
		s, err := e.js.Stream(t.Context(), conf.Raw)
		if err == nil && s.CachedInfo().State.Msgs < n {
			err = fmt.Errorf("%d envelopes, want %d", s.CachedInfo().State.Msgs, n)
		}
		return err
	})
}

// mqttBroker is a broker that a test can stop, and start again where it was.
type mqttBroker struct {
	*mochi.Server
	url  string
	once sync.Once
}

func (b *mqttBroker) stop() {
	b.once.Do(func() { b.Close() }) //nolint:errcheck // the test is over, or goes on without it
}

// allow are the hooks of a broker for everybody.
func allow() []mochi.Hook { return []mochi.Hook{new(auth.AllowHook)} }

// broker starts a broker on addr, or on a port that is the test's.
func broker(t *testing.T, addr string, hooks ...mochi.Hook) *mqttBroker {
	t.Helper()
	if addr == "" {
		addr = runtimetest.Address(t)
	}
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumInflight = 65535
	b := &mqttBroker{Server: mochi.New(&mochi.Options{Capabilities: capabilities, Logger: slog.New(slog.DiscardHandler)})}
	if len(hooks) == 0 {
		hooks = allow()
	}
	for _, h := range hooks {
		if err := b.AddHook(h, nil); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddListener(local.NewListener(ln, b.Server)); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	b.url = "mqtt://" + ln.Addr().String()
	t.Cleanup(b.stop)
	return b
}

func (b *mqttBroker) address(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// publisher is a device.
func publisher(t *testing.T, brokerURL string, change ...func(*mqtt3.ClientOptions)) mqtt3.Client {
	t.Helper()
	o := mqtt3.NewClientOptions().AddBroker(brokerURL).SetProtocolVersion(4).SetAutoReconnect(false).SetClientID("device" + strconv.Itoa(int(time.Now().UnixNano())))
	for _, f := range change {
		f(o)
	}
	c := mqtt3.NewClient(o)
	done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func done(t *testing.T, token mqtt3.Token) {
	t.Helper()
	if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("the broker does not answer: %v", token.Error())
	}
}
