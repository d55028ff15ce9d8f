package config_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

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
