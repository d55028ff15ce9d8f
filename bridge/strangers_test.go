package bridge_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// TestStrangersAreFew watches the health more often than one place may, without a token:
// what is too much is refused, calls are not, and who leaves makes room.
func TestStrangersAreFew(t *testing.T) {
	t.Parallel()
	conn := guarded(t, bridge.Config{}, insecure.NewCredentials())
	health := healthv1.NewHealthClient(conn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := func(ctx context.Context) error {
		w, err := health.Watch(ctx, &healthv1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		_, err = w.Recv()
		return err
	}
	const most = 250
	for i := range most {
		if err := watch(ctx); err != nil {
			t.Fatalf("watcher %d: %v", i, err)
		}
	}
	for range 3 {
		if err := watch(ctx); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("one too many: %v", err)
		}
	}
	if _, err := organizationv1.NewOrganizationServiceClient(conn).GetOrganization(bearer(t, "ada", "o1", "member"), get("o1")); err != nil {
		t.Errorf("a call: %v", err)
	}
	cancel()
	runtimetest.Eventually(t, 10*time.Second, func() error { return watch(t.Context()) })
}

// TestSlowCheck holds that a health check whose message never comes ends.
func TestSlowCheck(t *testing.T) {
	t.Parallel()
	addr := serveBridge(t, runtimetest.NATS(t), bridge.Config{Timeout: time.Second}, insecure.NewCredentials()).Target()
	slowCall(t, healthv1.Health_Check_FullMethodName, idleConn(t, addr, true))
}
