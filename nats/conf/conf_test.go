// Package conf_test holds the server configurations to what Ponix needs.
package conf_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func TestConfigurations(t *testing.T) {
	t.Setenv("NATS_NAME", "ponix-2")
	for file, want := range map[string]struct {
		name   string
		routes int
	}{
		"node.conf":    {"ponix", 0},
		"cluster.conf": {"ponix-2", 3},
	} {
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if o.ServerName != want.name || len(o.Routes) != want.routes {
			t.Errorf("%s: name %q, %d routes", file, o.ServerName, len(o.Routes))
		}
		if !o.JetStream || o.MaxPayload != 8<<20 || o.SyncInterval != 100*time.Millisecond || o.NoSublistCache != (want.routes == 0) {
			t.Errorf("%s: JetStream %v, max_payload %d, sync_interval %v, disable_sublist_cache %v", file, o.JetStream, o.MaxPayload, o.SyncInterval, o.NoSublistCache)
		}
	}
}
