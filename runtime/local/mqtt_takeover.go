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
//
// It holds everybody up, which is bearable where a broker is for trying it out.
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
	old, exists := h.server.Clients.Get(c.ID)
	if exists {
		old.Net.Conn.SetDeadline(until) //nolint:errcheck // it is closed already
	}
	h.mu.Lock()
	h.held.Store(c.Net.Conn, h.mu.Unlock)
	c.Net.Conn.SetDeadline(until) //nolint:errcheck // likewise
	if exists {
		countOn(old, c)
	}
}

// countOn lets a session's packet ids go on where they were. The broker begins
// again at 1 with each connection, as no other does.
func countOn(from, to *mochi.Client) {
	last, err := from.NextPacketID()
	if err != nil {
		return // all are in use
	}
	for n := uint32(0); n < last && err == nil; {
		n, err = to.NextPacketID()
	}
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
	listeners.Listener
	held *takeovers
}

func (l listener) Serve(establish listeners.EstablishFn) {
	l.Listener.Serve(func(id string, c net.Conn) error {
		defer l.held.release(c)
		return establish(id, c)
	})
}
