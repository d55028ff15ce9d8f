package mqttingest_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	pb "ponix/proto/ponix/gateway/v1"
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

// TestBrokerTellsThePassword has a broker say the password where it refuses the session: the
// state has all but that.
func TestBrokerTellsThePassword(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	const reason = "nobody is ponix with s3cret-word"
	refusal := append([]byte{0x20, 6 + byte(len(reason)), 0, 0x87, 3 + byte(len(reason)), 0x1f, 0, byte(len(reason))}, reason...) // a CONNACK of MQTT 5
	addr := runtimetest.Listen(t, func(c net.Conn) {
		if _, err := c.Read(make([]byte, 1024)); err != nil {
			return
		}
		c.Write(refusal)       //nolint:errcheck // then it is not told
		io.Copy(io.Discard, c) //nolint:errcheck // until it is closed
	})
	e.gateway(t, "create", "g1", "mqtt://ponix:s3cret-word@"+addr)
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return strings.Contains(s.LastError, "nobody is ponix with xxxxx") })
}
