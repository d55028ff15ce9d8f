package streams_test

import (
	"context"
	"errors"
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

func everyStream(c streams.Config) []streams.Stream {
	return []streams.Stream{c.RawEnvelopes(), c.ProcessedEnvelopes(), c.DeadLetters(), c.GatewayEvents(), c.EndDeviceEvents(), c.OrganizationEvents()}
}

// What agrees is left alone, and what does not is changed.
func TestEnsureWritesWhatDiffers(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	all := everyStream(c)
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
	smaller := c.Leases()
	smaller.MaxBytes /= 2
	if err := streams.EnsureBuckets(t.Context(), js, smaller); err != nil {
		t.Fatal(err)
	}
	if s, err := js.Stream(t.Context(), "KV_"+smaller.Bucket); err != nil || s.CachedInfo().Config.MaxBytes != smaller.MaxBytes {
		t.Errorf("the bucket is %v, %v", s, err)
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

// TestSettings holds what a server is told of each stream, consumer and bucket, by default.
func TestSettings(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	all := everyStream(c)
	buckets := []jetstream.KeyValueConfig{c.GatewayStates(), c.Leases(), c.MQTTSessions(), c.CaptureState()}
	if err := errors.Join(streams.Ensure(t.Context(), js, all...), streams.EnsureBuckets(t.Context(), js, buckets...)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		made, err := js.Stream(t.Context(), s.Name)
		if err != nil {
			t.Fatal(err)
		}
		is := made.CachedInfo().Config
		got = append(got, fmt.Sprintf("%s %v, window %v: %v, %d MiB, %v, age %v, duplicates %v, direct %v, atomic %v",
			is.Name, is.Subjects, s.Window, is.Storage, is.MaxBytes>>20, is.Discard, is.MaxAge, is.Duplicates, is.AllowDirect, is.AllowAtomicPublish))
		for consumers := made.ListConsumers(t.Context()); ; {
			info, more := <-consumers.Info()
			if !more {
				break
			}
			is := info.Config
			got = append(got, fmt.Sprintf("- %s: %v, wait %v, %d pending, %d times", is.Durable, is.AckPolicy, is.AckWait, is.MaxAckPending, is.MaxDeliver))
		}
	}
	for _, b := range buckets {
		kv, err := js.KeyValue(t.Context(), b.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		status, err := kv.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		is := status.Config()
		got = append(got, fmt.Sprintf("%s: %v, %d MiB, history %d, markers %v", is.Bucket, is.Storage, is.MaxBytes>>20, is.History, is.LimitMarkerTTL))
	}
	want := `
raw_envelopes [raw_envelopes.>], window 24h0m0s: File, 2048 MiB, DiscardNew, age 0s, duplicates 2m0s, direct true, atomic true
- convert: AckExplicit, wait 30s, 200000 pending, -1 times
processed_envelopes [processed_envelopes.>], window 24h0m0s: File, 2048 MiB, DiscardNew, age 0s, duplicates 2m0s, direct true, atomic true
- store: AckExplicit, wait 30s, 50000 pending, -1 times
dead_letters [dead_letters.>], window 0s: File, 1024 MiB, DiscardNew, age 720h0m0s, duplicates 2m0s, direct true, atomic true
gateways [gateways.>], window 24h0m0s: File, 1024 MiB, DiscardNew, age 0s, duplicates 2m0s, direct true, atomic true
- gateway-state: AckExplicit, wait 3s, 1 pending, -1 times
end_devices [end_devices.>], window 0s: File, 1024 MiB, DiscardOld, age 168h0m0s, duplicates 2m0s, direct true, atomic true
organizations [organizations.>], window 0s: File, 1024 MiB, DiscardOld, age 168h0m0s, duplicates 2m0s, direct true, atomic true
gateways: File, 256 MiB, history 1, markers 1h0m0s
leases: File, 64 MiB, history 1, markers 1h0m0s
mqtt_sessions: File, 64 MiB, history 1, markers 1h0m0s
cdc: File, 16 MiB, history 1, markers 0s`
	if got := "\n" + strings.Join(got, "\n"); got != want {
		t.Errorf("got%s\nwant%s", got, want)
	}
}

// TestReplicas holds that all that is made has the replicas that are asked for.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := streams.Config{Replicas: 3}
	for _, s := range everyStream(c) {
		if s.Replicas != c.Replicas {
			t.Errorf("stream %s has %d", s.Name, s.Replicas)
		}
		for _, d := range s.Consumers {
			if d.Replicas != c.Replicas {
				t.Errorf("consumer %s has %d", d.Durable, d.Replicas)
			}
		}
	}
	for _, b := range []jetstream.KeyValueConfig{c.GatewayStates(), c.Leases(), c.MQTTSessions(), c.CaptureState()} {
		if b.Replicas != c.Replicas {
			t.Errorf("bucket %s has %d", b.Bucket, b.Replicas)
		}
	}
}

// TestUnanswered holds after which errors one asks again.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		context.DeadlineExceeded: true, nats.ErrTimeout: true, nats.ErrDisconnected: true, nats.ErrConnectionReconnecting: true, nats.ErrReconnectBufExceeded: true,
		&jetstream.APIError{Code: 503, ErrorCode: 10008}:                                            true, // no leader yet
		&jetstream.APIError{Code: 400, ErrorCode: 10126}:                                            true, // not as many replicas yet
		&jetstream.APIError{Code: 503, ErrorCode: jetstream.JSErrCodeJetStreamNotEnabled}:           false,
		&jetstream.APIError{Code: 503, ErrorCode: jetstream.JSErrCodeJetStreamNotEnabledForAccount}: false,
		&jetstream.APIError{Code: 404, ErrorCode: jetstream.JSErrCodeStreamNotFound}:                false,
		context.Canceled: false, nats.ErrConnectionClosed: false,
	} {
		if got := streams.Unanswered(fmt.Errorf("ask: %w", err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
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

// TestEnsureLeavesAPause has somebody pause a consumer for a moment, as the server remembers
// for ever: a user who may not change consumers runs functions on it all the same.
func TestEnsureLeavesAPause(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	raw := config.Default[streams.Config]().RawEnvelopes()
	if err := streams.Ensure(t.Context(), js, raw); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PauseConsumer(t.Context(), raw.Name, streams.Convert, time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	written, err := nc.SubscribeSync("$JS.API.CONSUMER.CREATE.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(streams.Ensure(t.Context(), js, raw), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	if n, _, err := written.Pending(); n > 0 || err != nil {
		t.Errorf("the consumer was written %d times, %v", n, err)
	}
}
