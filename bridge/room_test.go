package bridge_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/credentials/insecure"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// TestLargeRequestsWait sends 200 requests of half a MiB at once: 16 MiB of them are on
// NATS at a time, the others wait, and a small one passes all of them.
func TestLargeRequestsWait(t *testing.T) {
	t.Parallel()
	const requests, size = 200, 512 << 10
	nc := runtimetest.NATS(t)
	conn := serveBridge(t, nc, bridge.Config{Timeout: time.Minute}, insecure.NewCredentials())
	client := organizationv1.NewOrganizationServiceClient(conn)

	var mu sync.Mutex
	var held []*nats.Msg
	unanswered, most, answering := 0, 0, false
	answer := func(m *nats.Msg) {
		unanswered -= len(m.Data)
		m.Respond(nil) //nolint:errcheck // then the call fails
	}
	if _, err := nc.Subscribe(wire.Subject(getRPC), func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		unanswered += len(m.Data)
		most = max(most, unanswered)
		if answering || len(m.Data) < size {
			answer(m)
			return
		}
		held = append(held, m)
	}); err != nil {
		t.Fatal(err)
	}
	results := make(chan error, requests)
	for range requests {
		go func() {
			_, err := client.GetOrganization(t.Context(), get(strings.Repeat("a", size-4))) // and the tag and the length
			results <- err
		}()
	}
	runtimetest.Eventually(t, time.Minute, func() error {
		mu.Lock()
		defer mu.Unlock()
		if unanswered < 16<<20 {
			return fmt.Errorf("%d bytes of requests are on NATS", unanswered)
		}
		return nil
	})
	if _, err := client.GetOrganization(t.Context(), get("small")); err != nil {
		t.Errorf("a small request: %v", err)
	}
	mu.Lock()
	answering = true
	for _, m := range held {
		answer(m)
	}
	mu.Unlock()
	for range requests {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if most > 16<<20+100 { // and the small one
		t.Errorf("%d bytes of requests were on NATS at a time", most)
	}
}
