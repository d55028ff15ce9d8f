package mqttingest_test

import (
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// owners counts the connected gateways of each owner.
func (e *env) owners(t *testing.T) map[string]int {
	t.Helper()
	owners := map[string]int{}
	for token := ""; ; {
		resp, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme", PageSize: 1000, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range resp.States {
			if connected(s) {
				owners[s.Owner]++
			}
		}
		if token = resp.NextPageToken; token == "" {
			return owners
		}
	}
}

// wantShares waits until so many owners have all gateways connected, and none has
// more than one above another.
func (e *env) wantShares(t *testing.T, within time.Duration, owners, gateways int) {
	t.Helper()
	runtimetest.Eventually(t, within, func() error {
		got := e.owners(t)
		total, least, most := 0, gateways, 0
		for _, n := range got {
			total, least, most = total+n, min(least, n), max(most, n)
		}
		if len(got) != owners || total != gateways || most-least > 1 {
			return fmt.Errorf("the shares are %v", got)
		}
		return nil
	})
}

// TestInstancesShareGateways starts and stops instances, and kills one's lease.
func TestInstancesShareGateways(t *testing.T) {
	t.Parallel()
	e := start(t)
	first := e.instance(t)
	b := broker(t, "")
	const gateways = 21
	for i := range gateways {
		e.gateway(t, "create", fmt.Sprintf("g%d", i), b.url)
	}
	e.wantShares(t, 10*time.Second, 1, gateways)
	second := e.instance(t)
	e.wantShares(t, 10*time.Second, 2, gateways)
	e.instance(t)
	e.wantShares(t, 10*time.Second, 3, gateways)
	if err := first.Stop(); err != nil {
		t.Error(err)
	}
	e.wantShares(t, 10*time.Second, 2, gateways)
	if err := second.Stop(); err != nil {
		t.Error(err)
	}
	e.wantShares(t, 10*time.Second, 1, gateways)
	// Somebody else takes the last one's lease away: it takes part again.
	kv, err := e.js.KeyValue(t.Context(), "leases")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if strings.HasPrefix(k, streams.InstanceLease("")) {
			if err := kv.Purge(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.wantShares(t, 10*time.Second, 1, gateways)
	// One client for each gateway, whoever has run it.
	if n := b.Clients.Len(); n != gateways {
		t.Errorf("the broker has seen %d clients", n)
	}
}

// TestThousandGateways holds one instance with a thousand gateways to a bounded
// number of goroutines and to bounded memory. The brokers' half is in the count, and
// so were other tests: it is not parallel.
func TestThousandGateways(t *testing.T) {
	e := start(t)
	b := broker(t, "")
	const gateways = 1000
	for i := range gateways {
		e.gateway(t, "create", fmt.Sprintf("g%d", i), b.url)
	}
	e.instance(t)
	began := time.Now()
	e.wantShares(t, time.Minute, 1, gateways)
	took := time.Since(began)
	goruntime.GC()
	var memory goruntime.MemStats
	goruntime.ReadMemStats(&memory)
	each := goruntime.NumGoroutine() / gateways
	t.Logf("%d gateways after %v: %d goroutines each, %d KiB of heap each, with the broker's", gateways, took, each, memory.HeapInuse/gateways/1024)
	if each > 20 || memory.HeapInuse > 512<<20 {
		t.Errorf("%d goroutines and %d bytes", goruntime.NumGoroutine(), memory.HeapInuse)
	}
	device := publisher(t, b.url)
	done(t, device.Publish("acme/thermometer", 1, false, "one"))
	e.stored(t, 20*time.Second, gateways)
}

// TestDeletedMeanwhile deletes a gateway while no instance runs: nothing of it stays.
func TestDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	e := start(t)
	h := e.instance(t)
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	e.gateway(t, "create", "g2", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	e.wantState(t, 20*time.Second, "g2", connected)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	e.gateway(t, "softdelete", "g1", b.url)
	e.instance(t)
	e.wantState(t, 20*time.Second, "g2", connected)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		for _, bucket := range []string{conf.Leases().Bucket, conf.MQTTSessions().Bucket} {
			kv, err := e.js.KeyValue(t.Context(), bucket)
			if err != nil {
				return err
			}
			keys, err := kv.Keys(t.Context())
			if err != nil {
				return err
			}
			// Whole tokens: an instance's random ID may have "g1" in it.
			for _, key := range keys {
				if slices.Contains(strings.Split(key, "."), "g1") {
					return fmt.Errorf("%s has %s", bucket, key)
				}
			}
		}
		return nil
	})
}

// TestNobodyIsLeft stops the only instance: its gateways are not shown as connected.
func TestNobodyIsLeft(t *testing.T) {
	t.Parallel()
	e := start(t)
	h := e.instance(t)
	e.gateway(t, "create", "g1", broker(t, "").url)
	e.wantState(t, 20*time.Second, "g1", connected)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	e.wantState(t, 5*time.Second, "g1", func(s *pb.GatewayState) bool {
		return s.Owner == "" && s.Connection == pb.ConnectionStatus_CONNECTION_STATUS_STOPPED
	})
}
