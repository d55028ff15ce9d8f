package runtimetest

import (
	"net"
	"testing"
)

// HangsUp is the address of a server that reads what it is told first and hangs up, as one does
// that wants no TLS, or nothing but TLS.
func HangsUp(t testing.TB) string {
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
			c.Read(make([]byte, 4096)) //nolint:errcheck // what is unread would be a reset
			c.Close()                  //nolint:errcheck // that is the test
		}
	}()
	return ln.Addr().String()
}
