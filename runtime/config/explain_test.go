package config_test

import (
	"net"
	"strings"
	"testing"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestClickHouseOfAnotherProtocol holds what is said where a port is that of HTTP, or of gRPC.
func TestClickHouseOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	for _, greeting := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"} {
		c := config.Default[config.ClickHouse]()
		c.NativeURL = runtimetest.Listen(t, func(conn net.Conn) {
			conn.Read(make([]byte, 4096)) //nolint:errcheck // what is unread would be a reset
			conn.Write([]byte(greeting))  //nolint:errcheck // the client may be gone
			conn.Read(make([]byte, 4096)) //nolint:errcheck // until it hangs up
		})
		db, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // only asked
		if err := config.Explained(db.Ping(t.Context())); err == nil || !strings.Contains(err.Error(), "(PONIX_CLICKHOUSE_NATIVE_URL)") {
			t.Errorf("%.4q: got %v", greeting, err)
		}
	}
}

// TestNATSThatSaysNothing holds the same where who takes the connection waits to be spoken to, as
// a server of most other protocols does.
func TestNATSThatSaysNothing(t *testing.T) {
	t.Parallel()
	at := runtimetest.Listen(t, func(conn net.Conn) {
		conn.Read(make([]byte, 1)) //nolint:errcheck // until the client hangs up
	})
	nc, err := config.NATS{URL: at}.Dial(t.Context(), "test")
	if err == nil {
		nc.Close()
	}
	if err == nil || !strings.HasSuffix(err.Error(), "says nothing, and may be no NATS server (PONIX_NATS_URL)") {
		t.Errorf("got %v", err)
	}
}
