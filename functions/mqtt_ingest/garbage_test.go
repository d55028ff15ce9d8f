package mqttingest_test

import (
	"testing"
	"time"

	pb "ponix/proto/ponix/gateway/v1"
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
	e.wantState(t, 10*time.Second, "g1", connected)
	garbage("after")
	e.gateway(t, "create", "before", url)
	e.gateway(t, "create", "after", url)
	e.wantState(t, 10*time.Second, "before", connected)
	e.wantState(t, 10*time.Second, "after", connected)
	garbage("other")
	if resp, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme"}); err != nil || len(resp.States) != 3 {
		t.Errorf("listed are %v, %v", resp, err)
	}
}
