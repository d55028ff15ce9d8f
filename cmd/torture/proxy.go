package main

import (
	"net"
	"sync"
	"time"
)

// proxy is a way from the instances to an engine that can be cut or slowed.
type proxy struct {
	ln net.Listener

	mu    sync.Mutex
	to    string
	cut   bool
	delay time.Duration
	conns map[net.Conn]bool
}

func newProxy(to string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, to: to, conns: map[net.Conn]bool{}}
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
	p.mu.Lock()
	to, cut := p.to, p.cut
	p.mu.Unlock()
	up, err := net.Dial("tcp", to)
	if cut || err != nil {
		c.Close() //nolint:errcheck // as an engine that is away does
		if err == nil {
			up.Close() //nolint:errcheck // nobody needs it
		}
		return
	}
	p.mu.Lock()
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
			p.mu.Lock()
			delay := p.delay
			p.mu.Unlock()
			time.Sleep(delay)
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// set cuts what goes through and what would, or slows each piece of it.
func (p *proxy) set(cut bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.delay = cut, delay
	if cut {
		for c := range p.conns {
			c.Close() //nolint:errcheck // it may be closed already
		}
	}
}

func (p *proxy) close() {
	p.ln.Close() //nolint:errcheck // nothing is lost with it
	p.set(true, 0)
}
