package local

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestOptionsAreThoseOfTheConfiguration holds that what `ponix up` starts is what nats/conf
// has for one server.
func TestOptionsAreThoseOfTheConfiguration(t *testing.T) {
	t.Parallel()
	want, err := server.ProcessConfigFile("../../nats/conf/node.conf")
	if err != nil {
		t.Fatal(err)
	}
	got := natsOptions(want.ServerName, want.Host, want.Port, want.StoreDir, want.SyncInterval)
	if got.MaxPayload != want.MaxPayload || got.JetStream != want.JetStream || got.NoSublistCache != want.NoSublistCache {
		t.Errorf("max_payload is %d, JetStream %v, disable_sublist_cache %v, want %d, %v, %v",
			got.MaxPayload, got.JetStream, got.NoSublistCache, want.MaxPayload, want.JetStream, want.NoSublistCache)
	}
}

// TestWarningsOfAStop holds that a server which is told to stop does not alarm anybody by
// what it cannot finish any more.
func TestWarningsOfAStop(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &natsLog{log: slog.New(slog.NewTextHandler(&out, nil))}
	l.Warnf("at %s", "first")
	l.stopping.Store(true)
	l.Warnf("at %s", "last")
	l.Errorf("an %s", "error")
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `level=WARN msg="at first"`) || !strings.Contains(got, `level=ERROR msg="an error"`) {
		t.Errorf("the log is\n%s", got)
	}
}
