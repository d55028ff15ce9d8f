package store_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/runtimetest"
)

// TestForgottenConnections holds that reads and writes succeed where all connections that there
// are turn out to be gone when they are used, as after a failover, and ClickHouse takes new ones.
func TestForgottenConnections(t *testing.T) {
	t.Parallel()
	var now atomic.Int64 // a connection of another time is unknown
	e := startWith(t, 1<<20, func(o *clickhouse.Options) {
		to := o.Addr[0]
		o.Addr = []string{runtimetest.Listen(t, func(c net.Conn) {
			up, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer up.Close()  //nolint:errcheck // nobody needs it any more
			go io.Copy(c, up) //nolint:errcheck // it ends with up
			began, buf := now.Load(), make([]byte, 32<<10)
			for {
				n, err := c.Read(buf)
				if began != now.Load() {
					c.(*net.TCPConn).SetLinger(0) //nolint:errcheck // it is reset
					return
				}
				if err != nil {
					return
				}
				if _, err := up.Write(buf[:n]); err != nil {
					return
				}
			}
		})}
	})
	forget := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { e.hold(t) })
		}
		all.Wait()
		now.Add(1)
	}
	forget()
	if err := e.write(t, made(t, "1", noon, `{}`)); err != nil {
		t.Fatal(err)
	}
	forget()
	if got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes; len(got) != 1 {
		t.Errorf("%d envelopes", len(got))
	}
}

// hold uses a connection for a moment, so that others need another.
func (e env) hold(t *testing.T) {
	if err := e.db.Exec(t.Context(), "SELECT sleep(0.1) FORMAT Null"); err != nil {
		t.Error(err)
	}
}
