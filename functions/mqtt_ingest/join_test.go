package mqttingest_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"ponix/nats/streams"
	"ponix/runtime/runtimetest"
)

// TestJoinerSeesEverybody has an instance join others who renew their leases meanwhile
// and own no more than their shares: it takes no gateway away from them.
func TestJoinerSeesEverybody(t *testing.T) {
	t.Parallel()
	e := start(t)
	const others, gateways = 20, 200
	for i := range gateways {
		e.gateway(t, "create", fmt.Sprint("g", i), "mqtt://127.0.0.1:1")
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		s, err := e.js.Stream(t.Context(), "KV_"+conf.GatewayStates().Bucket)
		if err == nil && s.CachedInfo().State.Msgs < gateways {
			err = fmt.Errorf("%d gateways are known", s.CachedInfo().State.Msgs)
		}
		return err
	})
	leases, err := e.js.KeyValue(t.Context(), conf.Leases().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	other := func(i int) string { return fmt.Sprintf("other%02d", i%others) }
	renew := func(i int) {
		if _, err := leases.Put(t.Context(), streams.InstanceLease(other(i)), []byte("2026-01-01T00:00:00.000000000Z")); err != nil {
			t.Error(err)
		}
	}
	for i := range others {
		renew(i)
	}
	for i := range gateways {
		if _, err := leases.Create(t.Context(), streams.GatewayLease(fmt.Sprint("g", i)), []byte(other(i))); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var renewals sync.WaitGroup
	renewals.Go(func() {
		for i := 0; ; i += 7 {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				renew(i)
			}
		}
	})
	defer renewals.Wait()
	defer close(stop)
	for range 10 {
		h := e.instance(t)
		<-time.After(300 * time.Millisecond) // nothing tells that it has found all gateways taken
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	}
	for i := range gateways {
		c, err := leases.Get(t.Context(), streams.GatewayLease(fmt.Sprint("g", i)))
		if err != nil || string(c.Value()) != other(i) {
			t.Errorf("g%d: %s has it, %v", i, c.Value(), err)
		}
	}
}
