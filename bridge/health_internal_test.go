package bridge

import (
	"net"
	"testing"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"ponix/runtime/runtimetest"
)

// TestHealthWhileStopping holds that a bridge that stops is not healthy, although NATS is there.
func TestHealthWhileStopping(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(ln, Config{Conn: runtimetest.NATS(t)})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	for _, name := range s.names {
		r, err := s.health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
		if err != nil || r.Status != healthv1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("service %q is %v, %v", name, r.GetStatus(), err)
		}
	}
}
