package main

import (
	"strings"
	"testing"

	"ponix/runtime/runtimetest"
)

// TestErrorsArePlain holds what commands say where they find NATS, and nothing else.
func TestErrorsArePlain(t *testing.T) {
	t.Parallel()
	env := []string{"PONIX_NATS_URL=" + runtimetest.NATSServer(t).ClientURL()}
	for args, want := range map[string]string{
		"gateway":                            "exit code 1: ponix: no instance serves ponix.organization.v1.OrganizationService",
		"gateway status":                     "exit code 1: ponix: no instance serves ponix.organization.v1.OrganizationService",
		"gateway status --organization acme": "exit code 1: ponix: no instance serves ponix.gateway.v1.GatewayStateService",
		"cdc status":                         "exit code 1: ponix: no instance serves ponix.cdc.v1.CdcService",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			if out, err := call(t, env, strings.Fields(args)...); err == nil || err.Error() != want || out != "" {
				t.Errorf("got %v and %q, want %s", err, out, want)
			}
		})
	}
}
