package store_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/functiontest"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
)

// gate is a way to ClickHouse that can be shut.
type gate struct {
	to   string
	addr string

	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	g := &gate{to: to}
	g.addr = runtimetest.Listen(t, g.pass)
	t.Cleanup(func() { g.set(true) })
	return g
}

func (g *gate) pass(c net.Conn) {
	up, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer up.Close() //nolint:errcheck // it may be closed already
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return
	}
	g.conns = append(g.conns, c, up)
	g.mu.Unlock()
	go io.Copy(up, c) //nolint:errcheck // it ends when the gate shuts
	io.Copy(c, up)    //nolint:errcheck // likewise
}

// set shuts the gate, which breaks what goes through it, or opens it.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for _, c := range g.conns {
			c.Close() //nolint:errcheck // it may be closed already
		}
		g.conns = nil
	}
}

// TestClickHouseAway holds that an outage costs nothing: what came meanwhile is
// stored when ClickHouse is back, each once, and nothing dies of it.
func TestClickHouseAway(t *testing.T) {
	t.Parallel()
	var g *gate
	e := startWith(t, 1<<26, func(o *clickhouse.Options) {
		g = newGate(t, o.Addr[0])
		o.Addr = []string{g.addr}
	})
	if err := e.write(t, made(t, "before", noon, `{}`)); err != nil {
		t.Fatal(err)
	}
	g.set(true)
	const n = 300
	for i := range n {
		data, err := proto.Marshal(made(t, fmt.Sprint(i), noon, `{"n":1}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.Publish(t.Context(), "processed_envelopes.o.d", data); err != nil {
			t.Fatal(err)
		}
	}
	_, err := e.WriteProcessedEnvelopes(t.Context(), &envelopev1.WriteProcessedEnvelopesRequest{Envelopes: []*envelopev1.ProcessedEnvelope{made(t, "x", noon, `{}`)}})
	functiontest.WantError(t, err, codes.Unavailable, "CLICKHOUSE_UNAVAILABLE")
	_, err = e.ListProcessedEnvelopes(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "d"})
	functiontest.WantError(t, err, codes.Unavailable, "CLICKHOUSE_UNAVAILABLE")
	g.set(false)
	runtimetest.Eventually(t, 40*time.Second, func() error {
		resp, err := e.ListProcessedEnvelopes(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "d", PageSize: 1000})
		if err == nil && len(resp.Envelopes) != n+1 {
			err = fmt.Errorf("%d envelopes", len(resp.Envelopes))
		}
		return err
	})
	q, err := deadletter.Open(t.Context(), e.js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Each(t.Context(), deadletter.Filter{}, func(l deadletter.Letter) error { return errors.New(l.Error) }); err != nil {
		t.Errorf("a dead letter: %v", err)
	}
}
