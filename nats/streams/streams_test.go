package streams_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// What agrees is left alone, and what does not is changed.
func TestEnsureWritesWhatDiffers(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	all := append(c.All(), c.GatewayEvents(), c.EndDeviceEvents(), c.OrganizationEvents())
	if err := streams.Ensure(t.Context(), js, all...); err != nil {
		t.Fatal(err)
	}
	buckets := []jetstream.KeyValueConfig{c.GatewayStates(), c.Leases(), c.MQTTSessions(), c.CaptureState()}
	if err := streams.EnsureBuckets(t.Context(), js, buckets...); err != nil {
		t.Fatal(err)
	}
	writes := make(chan *nats.Msg, 100)
	for _, subject := range []string{"$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.CONSUMER.CREATE.>"} {
		if _, err := nc.ChanSubscribe(subject, writes); err != nil {
			t.Fatal(err)
		}
	}
	if err := streams.Ensure(t.Context(), js, all...); err != nil {
		t.Fatal(err)
	}
	if err := streams.EnsureBuckets(t.Context(), js, buckets...); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(writes) > 0 {
		t.Errorf("nothing differs, and yet there is %s", (<-writes).Subject)
	}
	c.MaxBytes, c.AckWait = c.MaxBytes/2, time.Minute
	if err := streams.Ensure(t.Context(), js, c.RawEnvelopes()); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), c.Raw)
	if err != nil || s.CachedInfo().Config.MaxBytes != c.MaxBytes {
		t.Errorf("the limit is %v, %v", s, err)
	}
	durable, err := s.Consumer(t.Context(), streams.Convert)
	if err != nil || durable.CachedInfo().Config.AckWait != c.AckWait {
		t.Errorf("the time is %v, %v", durable, err)
	}
}

// What an older version made differs, too: its gateway events waited for as long
// as envelopes. The one that is in somebody's hands already does so no more.
func TestEnsureShortensTheWait(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	old := c.GatewayEvents()
	old.Consumers[0].AckWait = c.AckWait
	if err := streams.Ensure(t.Context(), js, old); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), old.Subject(streams.Created), nil); err != nil {
		t.Fatal(err)
	}
	durable, err := js.Consumer(t.Context(), old.Name, streams.GatewayState)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Next(); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, c.GatewayEvents()); err != nil {
		t.Fatal(err)
	}
	if info, err := durable.Info(t.Context()); err != nil || info.Config.AckWait > 3*time.Second {
		t.Errorf("the time is %v, %v", info, err)
	}
	if _, err := durable.Next(jetstream.FetchMaxWait(5 * time.Second)); err != nil {
		t.Errorf("it is not delivered again: %v", err)
	}
}

// TestEnsureSaysWhatIsTooSmall has a server without room for what the streams may hold.
func TestEnsureSaysWhatIsTooSmall(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t, func(o *server.Options) { o.JetStreamMaxStore = 1 << 30 })
	js, err := jetstream.New(runtimetest.Connect(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	err = streams.Ensure(t.Context(), js, config.Default[streams.Config]().RawEnvelopes())
	if err == nil || !strings.Contains(err.Error(), "PONIX_NATS_STREAM_MAX_BYTES") {
		t.Errorf("got %v", err)
	}
}

// TestEnsureSaysThatAServerIsAlone wants replicas of one.
func TestEnsureSaysThatAServerIsAlone(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	c.Replicas = 3
	for _, err := range []error{streams.Ensure(t.Context(), js, c.RawEnvelopes()), streams.EnsureBuckets(t.Context(), js, c.Leases())} {
		if err == nil || !strings.Contains(err.Error(), "PONIX_NATS_REPLICAS") {
			t.Errorf("got %v", err)
		}
	}
}

// TestWhatIsSetAside holds the figure that the error names.
func TestWhatIsSetAside(t *testing.T) {
	t.Parallel()
	c := config.Default[streams.Config]()
	var sum int64
	for _, s := range []streams.Stream{c.GatewayEvents(), c.EndDeviceEvents(), c.OrganizationEvents()} {
		sum += s.MaxBytes
	}
	for _, b := range []jetstream.KeyValueConfig{c.GatewayStates(), c.Leases(), c.MQTTSessions(), c.CaptureState()} {
		sum += b.MaxBytes
	}
	if gib := fmt.Sprintf("%.1f GiB", float64(sum)/(1<<30)); gib != "3.4 GiB" {
		t.Errorf("it is %s", gib)
	}
}
