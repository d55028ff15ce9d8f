package runtimetest

import (
	"net"
	"strconv"
	"syscall"
	"testing"
)

// Port returns a port of 127.0.0.1 that is the test's until it ends. A server may listen on it, be
// stopped and come back: meanwhile the system gives it to nobody who takes any port, as it would one
// that is merely free.
func Port(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	free := func() { syscall.Close(fd) } //nolint:errcheck // nothing is written to it
	t.Cleanup(free)
	// With this option on both, a socket that does not listen is in no server's way (Linux,
	// inet_csk_bind_conflict).
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return at.(*syscall.SockaddrInet4).Port
}

// Address returns 127.0.0.1 with a port as of Port.
func Address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Port(t)))
}
