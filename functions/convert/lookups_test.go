package convert_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"ponix/functions/convert"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/runtimetest"
)

// TestLookupsGoTogether has many devices become wanted while the first calls are on
// their way. Few devices are remembered, and each is converted by its own expression.
func TestLookupsGoTogether(t *testing.T) {
	t.Parallel()
	e := start(t, convert.Cache{Size: 8, TTL: time.Minute})
	resume := make(chan struct{})
	e.hold(func(context.Context) { <-resume })
	const n = 200
	id := func(i int) string { return fmt.Sprintf("o%d-%d", i%10, i) }
	for i := range n {
		e.set(id(i), fmt.Sprintf(`{"i": %d}`, i))
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: fmt.Sprintf("o%d", i%10), DeviceId: id(i)})
	}
	runtimetest.Eventually(t, 10*time.Second, func() error { // all but those of the first calls wait
		c, err := e.js.Consumer(t.Context(), "raw_envelopes", "convert")
		if err != nil {
			return err
		}
		if got := c.CachedInfo().NumAckPending; got != n {
			return fmt.Errorf("%d messages are in hand", got)
		}
		return nil
	})
	close(resume)
	for i := range n {
		if got := e.result(t, id(i)).Data.Fields["i"].GetNumberValue(); got != float64(i) {
			t.Errorf("%s gave %v", id(i), got)
		}
	}
	if calls := e.lookups(); calls > 20 {
		t.Errorf("%d devices took %d calls", n, calls)
	}
	for i := range n {
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: fmt.Sprintf("o%d", i%10), DeviceId: id(i)})
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		asked := 0
		for i := range n {
			asked += e.times(id(i))
		}
		if asked < 2*n-8 {
			return fmt.Errorf("devices were asked for %d times: more than 8 are remembered", asked)
		}
		return nil
	})
}
