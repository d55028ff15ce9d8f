package runtimetest

import (
	"net"
	"testing"
)

// Listen is the address of a server that gives each connection to f, and closes it when f returns.
func Listen(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close() //nolint:errcheck // whatever was said is said
				f(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// HangsUp is the address of a server that reads what it is told first and hangs up, as one does
// that wants no TLS, or nothing but TLS.
func HangsUp(t testing.TB) string {
	t.Helper()
	return Listen(t, func(c net.Conn) {
		c.Read(make([]byte, 4096)) //nolint:errcheck // what is unread would be a reset
	})
}
