package main

import (
	"net"
	"sync"
	"time"
)

// proxy is a way from the instances to an engine that can be cut, held or slowed.
type proxy struct {
	ln net.Listener
	to string

	mu    sync.Mutex
	moved sync.Cond // the way has changed
	way   way
	conns map[net.Conn]bool
}

// way is how a proxy passes things on; its zero value is at once.
type way struct {
	cut   bool          // connections break, and no new one comes about
	held  bool          // nothing comes through, and nobody is told: as where a cable is pulled
	delay time.Duration // of each piece
}

func newProxy(to string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, to: to, conns: map[net.Conn]bool{}}
	p.moved.L = &p.mu
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) pass(c net.Conn) {
	up, err := net.Dial("tcp", p.to)
	p.mu.Lock()
	if err != nil || p.way.cut {
		p.mu.Unlock()
		c.Close() //nolint:errcheck // as an engine that is away does
		if err == nil {
			up.Close() //nolint:errcheck // nobody needs it
		}
		return
	}
	p.conns[c], p.conns[up] = true, true
	p.mu.Unlock()
	go p.copy(up, c)
	p.copy(c, up)
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, up)
	p.mu.Unlock()
}

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()   //nolint:errcheck // the other half may have done it
	defer from.Close() //nolint:errcheck // likewise
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			time.Sleep(p.open())
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// open returns when nothing is held any more, and says how long a piece takes.
func (p *proxy) open() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.way.held {
		p.moved.Wait()
	}
	return p.way.delay
}

// set changes the way for what goes through it and for what will.
func (p *proxy) set(w way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.way = w
	p.moved.Broadcast()
	if w.cut {
		for c := range p.conns {
			c.Close() //nolint:errcheck // it may be closed already
		}
	}
}

// connections is how many go through.
func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

func (p *proxy) close() {
	p.ln.Close() //nolint:errcheck // nothing is lost with it
	p.set(way{cut: true})
}
