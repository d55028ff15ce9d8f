package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

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

// TestRefusedByNATS holds that a user who may not is told of what at once, and of nothing
// else.
func TestRefusedByNATS(t *testing.T) {
	t.Parallel()
	may := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$SRV.>", "$JS.API.STREAM.INFO.>"}}}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "user", Password: canary, Permissions: may}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Shutdown)
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS did not get ready")
	}
	env := []string{"PONIX_NATS_URL=" + srv.ClientURL(), "PONIX_NATS_USERNAME=user", "PONIX_NATS_PASSWORD=" + canary}
	for args, subject := range map[string]string{"ps --wait 10s": "$SRV.STATS", "streams": "$JS.API.STREAM.INFO."} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			out, err := call(t, env, strings.Fields(args)...)
			want := `exit code 1: ponix: nats: permissions violation: Permissions Violation for Publish to "` + subject
			if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") || out != "" || time.Since(began) > 5*time.Second {
				t.Errorf("got %v and %q after %v, want %s", err, out, time.Since(began), want)
			}
		})
	}
}

// TestInterruptedPS has ps end long before its wait does.
func TestInterruptedPS(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	asked := make(chan *nats.Msg, 1)
	if _, err := runtimetest.Connect(t, srv).ChanSubscribe("$SRV.STATS", asked); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"PONIX_NATS_URL=" + srv.ClientURL()}, "ps", "--wait", "1h")
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not ask")
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
	if p.ProcessState.ExitCode() != 1 || p.out.String() != "" {
		t.Errorf("it ended with %v and %s%s", p.err, p.out, p.log)
	}
}
