package runtimetest_test

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"ponix/runtime/runtimetest"
)

// TestPortIsKept has a server come and go: in between its port is taken for who takes any, and the
// server gets it again.
func TestPortIsKept(t *testing.T) {
	t.Parallel()
	port := runtimetest.Port(t)
	for range 3 {
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		other, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		// Without SO_REUSEADDR it is bound as where the system chooses.
		if err := syscall.Bind(other, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the port is free: %v", err)
		}
		if err := syscall.Close(other); err != nil {
			t.Fatal(err)
		}
	}
}
