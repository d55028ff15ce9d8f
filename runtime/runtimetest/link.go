package runtimetest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Link is a network between clients and a server.
type Link struct {
	Addr string // where the clients connect to

	server   string
	listener net.Listener
	silenced atomic.Int64 // how often

	mu    sync.Mutex
	conns []net.Conn // on both sides
}

// NewLink returns a link to the server at addr. It is closed when the test ends.
func NewLink(t testing.TB, addr string) *Link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Addr: ln.Addr().String(), server: addr, listener: ln}
	t.Cleanup(l.Close)
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go l.join(client)
		}
	}()
	return l
}

// Silence has the connections that there are swallow what they are sent, as where a firewall
// has forgotten them. New ones are as before.
func (l *Link) Silence() { l.silenced.Add(1) }

// Close ends all connections, and there are no new ones.
func (l *Link) Close() {
	l.listener.Close() //nolint:errcheck // of a test
	l.Cut()
}

// Cut ends the connections that there are.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close() //nolint:errcheck // of a test
	}
}

func (l *Link) join(client net.Conn) {
	defer client.Close() //nolint:errcheck // of a test
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // of a test
	l.mu.Lock()
	l.conns = append(l.conns, client, server)
	l.mu.Unlock()
	since := l.silenced.Load()
	var both sync.WaitGroup
	for to, from := range map[net.Conn]net.Conn{client: server, server: client} {
		both.Go(func() { l.pass(to, from, since) })
	}
	both.Wait()
}

// pass hands over what from says, unless the link was silenced since; then it goes nowhere, as
// does the end of it.
func (l *Link) pass(to, from net.Conn, since int64) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		passes := l.silenced.Load() == since
		if passes && n > 0 {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			if passes {
				to.Close() //nolint:errcheck // of a test
			}
			return
		}
	}
}
