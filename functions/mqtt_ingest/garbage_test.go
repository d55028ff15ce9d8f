package mqttingest_test

import (
	"errors"
	"testing"
	"time"

	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// TestGarbageInTheBucket holds that what cannot be read in the bucket of gateways is in
// nobody's way, neither when instances start nor later; and that an event mends it.
func TestGarbageInTheBucket(t *testing.T) {
	t.Parallel()
	e := start(t)
	kv, err := e.js.KeyValue(t.Context(), conf.GatewayStates().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	garbage := func(key string) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), key, `{"stream":"raw_envelopes","seq":1}`); err != nil {
			t.Fatal(err)
		}
	}
	garbage("before")
	e.instance(t)
	url := broker(t, "").url
	e.gateway(t, "create", "g1", url)
	e.wantState(t, 20*time.Second, "g1", connected)
	garbage("after")
	e.gateway(t, "create", "before", url)
	e.gateway(t, "create", "after", url)
	e.wantState(t, 20*time.Second, "before", connected)
	e.wantState(t, 20*time.Second, "after", connected)
	garbage("other")
	if resp, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme"}); err != nil || len(resp.States) != 3 {
		t.Errorf("listed are %v, %v", resp, err)
	}
}

// TestGarbageOverAConnectedGateway holds that the state of a gateway that goes on all the
// while tells of its connection again, when an event has mended what somebody wrote over it.
func TestGarbageOverAConnectedGateway(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	url := broker(t, "").url
	e.gateway(t, "create", "g1", url)
	e.wantState(t, 20*time.Second, "g1", connected)
	kv, err := e.js.KeyValue(t.Context(), conf.GatewayStates().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "g1", "garbage"); err != nil {
		t.Fatal(err)
	}
	e.gateway(t, "update", "g1", url)
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return connected(s) && s.Owner != "" })
}

// TestBucketsAreMadeAgain holds that gateways come back where buckets were deleted, all as
// by a NATS that lost its disk, or only one.
func TestBucketsAreMadeAgain(t *testing.T) {
	t.Parallel()
	leases, records, states := conf.Leases().Bucket, conf.MQTTSessions().Bucket, conf.GatewayStates().Bucket
	for _, buckets := range [][]string{{leases}, {records}, {leases, records, states}} {
		e := start(t)
		e.instance(t)
		b := broker(t, "")
		e.gateway(t, "create", "g1", b.url)
		e.wantState(t, 20*time.Second, "g1", connected)
		for _, name := range buckets {
			if err := e.js.DeleteKeyValue(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		b.stop()
		again := broker(t, b.address(t))
		e.gateway(t, "update", "g1", again.url)
		device := publisher(t, again.url)
		runtimetest.Eventually(t, 30*time.Second, func() error {
			done(t, device.Publish("acme/thermometer", 1, false, "fine"))
			raw, err := e.js.Stream(t.Context(), conf.Raw)
			if err == nil && raw.CachedInfo().State.Msgs == 0 {
				err = errors.New("no message became an envelope")
			}
			return err
		})
		e.wantState(t, 20*time.Second, "g1", connected)
	}
}
