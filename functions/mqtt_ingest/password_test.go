package mqttingest_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"ponix/runtime/runtimetest"
)

// users are those of a broker: who says no name, and a new one once it is known.
type users struct {
	mochi.HookBase
	newKnown atomic.Bool
}

func (*users) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (u *users) OnConnectAuthenticate(_ *mochi.Client, p packets.Packet) bool {
	return len(p.Connect.Username) == 0 || u.newKnown.Load()
}

func (*users) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// TestNewPassword gives a gateway another user and password, which its broker knows
// only a moment later, while devices publish: the session is the same, and what the
// broker has acknowledged meanwhile waits in it.
func TestNewPassword(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	known := &users{}
	b := broker(t, "", known)
	e.gateway(t, "create", "gw", b.url)
	e.wantState(t, 20*time.Second, "gw", connected)
	device, sent := publisher(t, b.url), 0
	publish := func() {
		for range 50 {
			done(t, device.Publish("acme/d", 1, false, fmt.Sprint(sent)))
			sent++
		}
	}
	publish()
	e.gateway(t, "update", "gw", strings.Replace(b.url, "mqtt://", "mqtt://user:new@", 1))
	e.wantState(t, 20*time.Second, "gw", failing)
	publish()
	known.newKnown.Store(true)
	e.wantState(t, 20*time.Second, "gw", connected)
	publish()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		seen := map[string]bool{}
		for _, envelope := range e.envelopes(t) {
			seen[string(envelope.Payload)] = true
		}
		if len(seen) != sent {
			return fmt.Errorf("%d of %d messages are envelopes", len(seen), sent)
		}
		return nil
	})
}
