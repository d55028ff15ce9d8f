package config

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// mostGathered is how many bytes wait to be written before a writer waits, too.
	mostGathered = 128 << 10
	// writeTimeout bounds a write to a peer that does not read. The client then waits with
	// its lock, without which it can neither ping the peer nor be closed: it has the time
	// that pings have.
	writeTimeout = (pingsUnanswered + 1) * pingInterval
	// closeTimeout bounds how long a connection that is closed still writes.
	closeTimeout = time.Second
)

// gatheringDialer dials connections that gather what is written to them.
type gatheringDialer struct{ net.Dialer }

func (d *gatheringDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return gather(conn), nil
}

// gathering is a connection that writes behind its callers' backs, and before each write
// lets whoever is ready to run add to it. The client writes as soon as a message waits,
// under a lock that the next message needs, though more may follow at once, where many
// calls are answered at a time. Here they share a system call, and the lock is free
// meanwhile.
//
// What a Write has taken may be lost with the connection, as what the kernel has taken
// may be.
type gathering struct {
	net.Conn

	mu      sync.Mutex
	changed sync.Cond // of what follows
	waiting []byte
	spare   []byte // the buffer of the write before
	sending bool   // a goroutine writes, or is about to
	closing bool
	err     error // of a write, or net.ErrClosed
}

func gather(conn net.Conn) *gathering {
	c := &gathering{Conn: conn}
	c.changed.L = &c.mu
	return c
}

// Write takes p, and waits only while there is too much before it. The error is of an
// earlier write. One writer at a time: the client has a lock.
func (c *gathering) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(p) {
		for c.err == nil && !c.closing && len(c.waiting) == mostGathered {
			c.changed.Wait()
		}
		switch {
		case c.err != nil:
			return n, c.err
		case c.closing:
			return n, net.ErrClosed
		}
		next := min(len(p), n+mostGathered-len(c.waiting))
		c.waiting = append(c.waiting, p[n:next]...)
		n = next
		if !c.sending {
			c.sending = true
			go c.send()
		}
	}
	return n, nil
}

func (c *gathering) send() {
	for {
		runtime.Gosched()
		out := c.take()
		if out == nil {
			return
		}
		_, err := c.Conn.Write(out)
		c.sent(out, err)
	}
}

// take returns what waits, and nil once nothing does.
func (c *gathering) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || len(c.waiting) == 0 {
		c.sending = false
		c.changed.Broadcast()
		return nil
	}
	if !c.closing {
		c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)) //nolint:errcheck // the write fails, too
	}
	out := c.waiting
	c.waiting, c.spare = c.spare[:0], nil
	return out
}

func (c *gathering) sent(out []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spare = out
	if err != nil {
		c.err = err
		c.Conn.Close() //nolint:errcheck // who reads learns of it
	}
	c.changed.Broadcast()
}

// Read returns the error of a write that broke the connection.
func (c *gathering) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			err = c.err
		}
	}
	return n, err
}

// SetWriteDeadline does nothing: a Write does not wait for the peer, and what it leaves
// behind has a time of its own.
func (c *gathering) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is of reads, likewise.
func (c *gathering) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// Close writes what waits, if that takes no longer than a second.
func (c *gathering) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.closing = true
		c.Conn.SetWriteDeadline(time.Now().Add(closeTimeout)) //nolint:errcheck // the write fails, too
	}
	for c.sending && c.err == nil {
		c.changed.Wait()
	}
	if c.err == nil {
		c.err = net.ErrClosed
	}
	return c.Conn.Close()
}
