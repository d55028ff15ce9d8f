package bridge

import (
	"strings"
	"testing"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// TestUnguardedServiceIsNotServed holds that a service whose rpcs do not say who may call them
// keeps the bridge from starting: anybody could.
func TestUnguardedServiceIsNotServed(t *testing.T) {
	t.Parallel()
	service := healthv1.File_grpc_health_v1_health_proto.Services().ByName("Health") // of somebody else
	if _, err := new(Server).describe(service); err == nil || !strings.Contains(err.Error(), "does not say who may call it") {
		t.Errorf("got %v", err)
	}
}
