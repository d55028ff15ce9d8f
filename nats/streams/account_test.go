package streams_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestLimitsOfAnAccount has an account as those who run NATS for others give it: every stream
// needs a limit, and few messages of a consumer may wait to be settled.
func TestLimitsOfAnAccount(t *testing.T) {
	t.Parallel()
	const most = 5000
	srv := runtimetest.NATSServer(t)
	if err := srv.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {
		MaxStore: 20 << 30, MaxMemory: -1, MaxStreams: 20, MaxConsumers: -1, MaxAckPending: most, MaxBytesRequired: true,
	}}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(runtimetest.Connect(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	if err := streams.Ensure(t.Context(), js, c.RawEnvelopes()); err == nil || !strings.Contains(err.Error(), "PONIX_NATS_MAX_ACK_PENDING") {
		t.Errorf("got %v", err)
	}
	c.AckPending = most
	if err := streams.Ensure(t.Context(), js, everyStream(c)...); err != nil {
		t.Error(err)
	}
	if err := streams.EnsureBuckets(t.Context(), js, c.GatewayStates(), c.Leases(), c.MQTTSessions(), c.CaptureState()); err != nil {
		t.Error(err)
	}
	for durable, stream := range map[string]string{streams.Convert: c.Raw, streams.Store: c.Processed} {
		made, err := js.Consumer(t.Context(), stream, durable)
		if err != nil {
			t.Fatal(err)
		}
		if got := made.CachedInfo().Config.MaxAckPending; got != most {
			t.Errorf("%s has %d pending, not %d", durable, got, most)
		}
	}
}
