package config_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestManyRefusals holds that a user who may not publish does not fill the log.
func TestManyRefusals(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"closed.>"}}}}}
	})
	var log strings.Builder
	nc, err := config.NATS{URL: srv.ClientURL(), Username: "u"}.Connect(t.Context(), "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if err := nc.Publish("closed.to.u", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) }) // after all other callbacks
	nc.Close()
	<-closed
	if n := strings.Count(log.String(), "level=WARN"); n < 1 || n > 100 {
		t.Errorf("%d lines", n)
	}
}

// TestCredentials holds that a file without a NATS user's credentials is told at once,
// and not by a server again and again.
func TestCredentials(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed := func(pair nkeys.KeyPair) string {
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		return string(seed)
	}
	creds := func(pair nkeys.KeyPair) string {
		return fmt.Sprintf("-----BEGIN NATS USER JWT-----\neyJ0eXAi\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", seed(pair))
	}
	for name, c := range map[string]struct{ content, want string }{
		"a user":       {creds(user), "nats: no servers available"},
		"an account":   {creds(account), "PONIX_NATS_CREDS: "},
		"a seed alone": {creds(user)[strings.Index(creds(user), "\n\n")+2:], "PONIX_NATS_CREDS: "},
		"a bare seed":  {seed(user), "PONIX_NATS_CREDS: "},
		"nothing":      {"", "PONIX_NATS_CREDS: "},
		"other things": {"password: hunter2\n", "PONIX_NATS_CREDS: "},
	} {
		file := filepath.Join(t.TempDir(), "creds")
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.NATS{URL: "nats://127.0.0.1:1", Creds: file}.Dial(t.Context(), "test")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), seed(user)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
