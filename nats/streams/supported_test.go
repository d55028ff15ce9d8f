package streams_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"ponix/nats/streams"
	"ponix/runtime/runtimetest"
)

// TestSupported holds which servers are too old, and that the error says which it is.
func TestSupported(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"2.10.29": false, "2.12.0": false, "2.12.1": true, "2.12.1-RC.1": true, "2.15.2": true, "3.0.0": true, "": true, "of our own": true,
	} {
		nc, err := nats.Connect(ofVersion(t, version))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		err = streams.Supported(nc)
		if (err == nil) != ok || !ok && (!strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "old one")) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// ofVersion is the address of a server that says it is of that version, and no more.
func ofVersion(t *testing.T, version string) string {
	return "nats://" + runtimetest.Listen(t, func(conn net.Conn) {
		fmt.Fprintf(conn, "INFO {\"server_name\":\"old one\",\"version\":%q,\"max_payload\":1048576}\r\n", version)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PING" {
				fmt.Fprintf(conn, "PONG\r\n")
			}
		}
	})
}
