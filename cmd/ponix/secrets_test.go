package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// canary is in every secret of these tests.
const canary = "hunter2"

// secrets are in all the variables that may have one. No server listens there.
func secrets(natsURL string) []string {
	return []string{
		"PONIX_NATS_URL=" + natsURL, "PONIX_NATS_USERNAME=user", "PONIX_NATS_PASSWORD=" + canary, "PONIX_LOG_LEVEL=debug",
		"PONIX_POSTGRES_HOST=127.0.0.1", "PONIX_POSTGRES_PORT=1", "PONIX_POSTGRES_PASSWORD=" + canary,
		"PONIX_CLICKHOUSE_NATIVE_URL=127.0.0.1:1", "PONIX_CLICKHOUSE_PASSWORD=" + canary,
		"PONIX_AUTH_SECRET=" + canary + strings.Repeat("x", 32), "PONIX_GRPC_PORT=0",
	}
}

// quiet holds a text to having no secret.
func quiet(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, canary) {
		t.Errorf("%s shows a secret:\n%s", what, text)
	}
}

// processes holds the command lines of p and its children to having no secret,
// and the children's environments, which may be another user's.
func (p *ponix) processes(t *testing.T) {
	t.Helper()
	self := filepath.Join("/proc", strconv.Itoa(p.Process.Pid))
	line, err := os.ReadFile(self + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	quiet(t, "the command line", string(line))
	children, err := os.ReadFile(filepath.Join(self, "task", strconv.Itoa(p.Process.Pid), "children"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(children)) {
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(filepath.Join("/proc", pid, file))
			if err != nil {
				t.Fatal(err)
			}
			quiet(t, "a child's "+file, string(text))
		}
	}
}

// TestErrorsHoldNoSecret runs every command with addresses that are wrong in all
// the ways.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"nobody listens": "nats://user:" + canary + "@127.0.0.1:1",
		"a token":        "nats://" + canary + "@127.0.0.1:1",
		"two":            "nats://user:" + canary + "@127.0.0.1:1,nats://" + canary + "@127.0.0.1:2",
		"no URL":         "nats://user:" + canary + "@a b:%zz",
		"no port":        "nats://user:" + canary + "@127.0.0.1:x",
		"no scheme":      "user:" + canary + "@127.0.0.1:1",
		"a slash":        "nats://user:" + canary + "/x@127.0.0.1:1",
		"a comma":        "nats://user:" + canary + ",x@127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{{"ps"}, {"tail"}, {"send", "--device", "d", "--hex", "00"}, {"dlq", "list"}, {"streams"}, {"sql", "SELECT 1"}, {"migrate", "up", "postgres"}, {"migrate", "up", "clickhouse"}} {
				out, err := call(t, secrets(url), args...)
				if err == nil {
					t.Errorf("%q succeeds", args)
					continue
				}
				quiet(t, strings.Join(args, " "), out+err.Error())
			}
			for _, args := range []string{"serve", "bridge"} {
				p := start(t, secrets(url), args)
				runtimetest.Eventually(t, 10*time.Second, func() error { // it says so, or it ends
					select {
					case <-p.ended:
						return nil
					default:
					}
					if strings.Contains(p.log.String(), "waiting for NATS") {
						p.processes(t)
						return nil
					}
					return os.ErrNotExist
				})
				quiet(t, args, p.out.String()+p.log.String())
			}
		})
	}
}

func TestOtherSettingsHoldNoSecret(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{
		{"PONIX_CLICKHOUSE_NATIVE_URL=tcp://user:" + canary + "@127.0.0.1"},
		{"PONIX_AUTH_JWKS=https://user:" + canary + "@127.0.0.1:1/jwks"},
		{"PONIX_AUTH_JWKS=https://user:" + canary + "@a b:%zz"},
		{"PONIX_AUTH_SECRET=" + canary},
		{"PONIX_POSTGRES_HOST=a b", "PONIX_POSTGRES_SSLMODE=verify-full", "PONIX_POSTGRES_SSLROOTCERT=/none"},
	} {
		for _, command := range [][]string{{"bridge"}, {"sql", "SELECT 1"}, {"migrate", "up"}} {
			if out, err := call(t, append(secrets("nats://127.0.0.1:%zz"), env...), command...); err == nil {
				t.Errorf("%q %q succeeds", env, command)
			} else {
				quiet(t, strings.Join(env, " "), out+err.Error())
			}
		}
	}
	// On the command line a password would be everybody's: it is refused.
	for _, args := range [][]string{
		{"ps", "--nats-url", "nats://user:" + canary + "@127.0.0.1"},
		{"ps", "--nats-url=nats://user:" + canary + "@127.0.0.1"},
		{"bench", "latency", "--against", "nats://user:" + canary + "@127.0.0.1:1"},
		{"bridge", "--auth-jwks=https://user:" + canary + "@127.0.0.1/jwks"},
	} {
		_, err := call(t, nil, args...)
		if err == nil || !strings.Contains(err.Error(), "exit code 2") || !strings.Contains(err.Error(), "the environment") {
			t.Errorf("%q: got %v", args[1:], err)
		}
		quiet(t, "the refusal", err.Error())
	}
}

// TestServersThatRefuse has functions whose passwords the engines do not take.
func TestServersThatRefuse(t *testing.T) {
	t.Parallel()
	c := enginesOnly(t)
	p := start(t, append(c.env, "PONIX_POSTGRES_PASSWORD="+canary, "PONIX_CLICKHOUSE_PASSWORD="+canary, "PONIX_LOG_LEVEL=debug"), "serve")
	p.waitFor(t, 20*time.Second, "msg=serving")
	_, err := c.organizations.CreateOrganization(t.Context(), &organizationv1.CreateOrganizationRequest{Name: "acme"})
	if reasonOf(err) != "POSTGRES_UNAVAILABLE" {
		t.Errorf("got %v", err)
	}
	p.waitFor(t, 10*time.Second, "password authentication failed")
	quiet(t, "the log", p.log.String()+err.Error())
	p.processes(t)
	if _, err := call(t, append(c.env, "PONIX_CLICKHOUSE_PASSWORD="+canary), "sql", "SELECT 1"); err == nil {
		t.Error("ClickHouse takes any password")
	} else {
		quiet(t, "sql", err.Error())
		if !strings.Contains(err.Error(), "exit code 1: ponix: ClickHouse at 127.0.0.1:") || !strings.Contains(err.Error(), "PONIX_CLICKHOUSE_PASSWORD") {
			t.Errorf("sql does not say whose password is wrong: %v", err)
		}
	}
}

// TestWorkingProcessesHoldNoSecret has passwords that are right, and callers with tokens,
// good ones and bad; then NATS goes away.
func TestWorkingProcessesHoldNoSecret(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t, func(o *server.Options) { o.Username, o.Password = "user", canary })
	env := append(secrets(strings.Replace(srv.ClientURL(), "://", "://user:"+canary+"@", 1)), "PONIX_AUTH_SECRET="+secret, "PONIX_GRACE=3s")
	serve, bridge := start(t, env, "serve"), start(t, env, "bridge")
	serve.waitFor(t, 20*time.Second, "msg=serving")
	addr := bridge.waitFor(t, 20*time.Second, `msg="serving gRPC" address=(\S+) .*authentication=true`)[1]
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	good := as(t, "admin", "")
	sent, _ := metadata.FromOutgoingContext(good)
	raw := strings.TrimPrefix(sent.Get("authorization")[0], "Bearer ")
	for _, tt := range []struct {
		ctx    context.Context
		reason string
	}{
		{good, "POSTGRES_UNAVAILABLE"},
		{metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+raw+canary), "TOKEN_INVALID"},
		{metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic "+canary), "TOKEN_INVALID"},
	} {
		_, err := organizationv1.NewOrganizationServiceClient(conn).CreateOrganization(tt.ctx, &organizationv1.CreateOrganizationRequest{Name: "acme"})
		if reasonOf(err) != tt.reason {
			t.Errorf("got %v, want %s", err, tt.reason)
		}
		quiet(t, "an answer", fmt.Sprint(err))
	}
	serve.processes(t)
	bridge.processes(t)
	srv.Shutdown()
	for name, p := range map[string]*ponix{"serve": serve, "bridge": bridge} {
		p.waitFor(t, 10*time.Second, "level=WARN msg=.*NATS")
		text := p.out.String() + p.log.String()
		quiet(t, name, text)
		if strings.Contains(text, secret) || strings.Contains(text, raw) {
			t.Errorf("%s shows the secret or a token:\n%s", name, text)
		}
	}
}

// TestUpKeepsSecrets also holds what ponix up says of authentication.
func TestUpKeepsSecrets(t *testing.T) {
	t.Parallel()
	args := []string{"up", "--data-dir", t.TempDir(), "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0"}
	p := start(t, []string{"PONIX_POSTGRES_PASSWORD=" + canary, "PONIX_CLICKHOUSE_PASSWORD=" + canary, "PONIX_AUTH_SECRET=" + canary + strings.Repeat("x", 32), "PONIX_LOG_LEVEL=debug"}, args...)
	p.waitFor(t, 90*time.Second, ` sql 'SELECT .*$`) // the last line
	p.processes(t)
	quiet(t, "up", p.out.String()+p.log.String())
	if out := p.out.String(); strings.Contains(out, "authentication is off") || !strings.Contains(out, " token --subject me --role admin)\n") || !strings.Contains(out, "PONIX_GRPC_REFLECTION") {
		t.Errorf("it is on:\n%s", out)
	}
	args[2] = t.TempDir()
	p = start(t, nil, args...)
	p.waitFor(t, 90*time.Second, `^! authentication is off`)
	_, err := call(t, nil, append(args, "--grpc-host", "0.0.0.0", "--data-dir", t.TempDir())...)
	if err == nil || !strings.Contains(err.Error(), "exit code 2: ponix: PONIX_GRPC_HOST") {
		t.Errorf("anybody may reach it: %v", err)
	}
}

// TestAnExposedBridgeWarns is the same of a bridge alone.
func TestAnExposedBridgeWarns(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	env := []string{"PONIX_NATS_URL=" + srv.ClientURL(), "PONIX_GRPC_PORT=0", "PONIX_GRPC_HOST=0.0.0.0"}
	start(t, env, "bridge").waitFor(t, 10*time.Second, "level=WARN msg=\"authentication is off")
	p := start(t, append(env, "PONIX_AUTH_SECRET="+canary+strings.Repeat("x", 32)), "bridge")
	p.waitFor(t, 10*time.Second, "serving gRPC.*authentication=true")
	if strings.Contains(p.log.String(), "authentication is off") {
		t.Errorf("it is on:\n%s", p.log)
	}
}
