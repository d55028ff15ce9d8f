package local

import (
	"net"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// takeovers lets nobody publish while a connection takes a session over, until
// what is not acknowledged was sent again. Without it, the broker gives what is
// published meanwhile to the connection that goes, where it is lost; or to the
// one that comes, before its CONNACK, and both as new and as sent again
// (mochi-mqtt 2.7.9, Server.inheritClientSession and attachClient).
type takeovers struct {
	mochi.HookBase
	server *mochi.Server
	mu     sync.RWMutex
	held   sync.Map // net.Conn → func() that gives up what it holds of mu
}

// stalled is how long a client that does not read may hold up a takeover.
const stalled = 5 * time.Second

func (*takeovers) ID() string { return "takeovers" }

func (*takeovers) Provides(b byte) bool {
	return b == mochi.OnSessionEstablish || b == mochi.OnSessionEstablished || b == mochi.OnPublish || b == mochi.OnPublished
}

// OnSessionEstablish begins a takeover. The deadlines are in force until the
// broker sets others.
func (h *takeovers) OnSessionEstablish(c *mochi.Client, _ packets.Packet) {
	until := time.Now().Add(stalled)
	if old, ok := h.server.Clients.Get(c.ID); ok && old.Net.Conn != nil {
		old.Net.Conn.SetDeadline(until) //nolint:errcheck // it is closed already
	}
	h.mu.Lock()
	h.held.Store(c.Net.Conn, h.mu.Unlock)
	c.Net.Conn.SetDeadline(until) //nolint:errcheck // likewise
}

// OnSessionEstablished ends a takeover.
func (h *takeovers) OnSessionEstablished(c *mochi.Client, _ packets.Packet) { h.release(c.Net.Conn) }

// OnPublish waits for takeovers.
func (h *takeovers) OnPublish(c *mochi.Client, p packets.Packet) (packets.Packet, error) {
	h.mu.RLock()
	h.held.Store(c.Net.Conn, h.mu.RUnlock)
	return p, nil
}

// OnPublished comes when each subscriber's session has the message.
func (h *takeovers) OnPublished(c *mochi.Client, _ packets.Packet) { h.release(c.Net.Conn) }

func (h *takeovers) release(c net.Conn) {
	if f, holds := h.held.LoadAndDelete(c); holds {
		f.(func())()
	}
}

// listener gives up what a connection holds that breaks off half way.
type listener struct {
	*listeners.Net
	*takeovers
}

func (l listener) ID() string { return l.Net.ID() }

func (l listener) Serve(establish listeners.EstablishFn) {
	l.Net.Serve(func(id string, c net.Conn) error {
		defer l.release(c)
		return establish(id, c)
	})
}
