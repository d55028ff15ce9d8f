package wire_test

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// TestMetadata holds which metadata goes with a call, and that it is the same at its end.
func TestMetadata(t *testing.T) {
	t.Parallel()
	headers := make(chan nats.Header, 1)
	c, _ := echo(t, func(m *nats.Msg) {
		headers <- m.Header
		m.Respond(nil) //nolint:errcheck // the call would miss it
	})
	sent := metadata.MD{"tenant": {"acme", "other"}, "note-bin": {"\r\n\xff", " "}}
	md := sent.Copy()
	for _, k := range []string{
		":authority", "grpc-timeout", "nats-msg-id", "ponix-role", "content-type", "user-agent", "te", "authorization", "traceparent", "tracestate",
	} {
		md.Set(k, "x")
	}
	if _, err := c.Forward(t.Context(), wire.Subject(rpc), md, nil); err != nil {
		t.Fatal(err)
	}
	h := <-headers
	if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, []string{wire.TimeoutHeader, "note-bin", "tenant"}) {
		t.Errorf("the headers are %q", got)
	}
	if d, err := time.ParseDuration(h.Get(wire.TimeoutHeader)); err != nil || d <= 0 || d > wire.DefaultTimeout {
		t.Errorf("the call has %v, %v", d, err)
	}
	h["traceparent"], h["tracestate"], h["by-hand-bin"], h["Nats-Msg-Id"] = []string{"x"}, []string{"x"}, []string{"!"}, []string{"x"}
	sent["by-hand-bin"] = []string{"!"} // that is no base64
	encoded := slices.Clone(h["note-bin"])
	if got := wire.IncomingMetadata(h); !reflect.DeepEqual(got, sent) || !slices.Equal(h["note-bin"], encoded) {
		t.Errorf("got %q, want %q; left is %q", got, sent, h)
	}
}

// TestTraceTravels holds that whoever is called sees the trace of the caller.
func TestTraceTravels(t *testing.T) {
	t.Parallel()
	seen := make(chan trace.SpanContext, 1)
	c, _ := echo(t, func(m *nats.Msg) {
		seen <- trace.SpanContextFromContext(wire.ExtractTrace(context.Background(), m.Header))
		m.Respond(m.Data) //nolint:errcheck // the call would miss it
	})
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	if err := ask(trace.ContextWithSpanContext(t.Context(), sc), c, "traced"); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got.TraceID() != sc.TraceID() || got.SpanID() != sc.SpanID() {
		t.Errorf("got %v", got)
	}
}

// TestNobodyIsAskedTooLate holds that a call which is over before it begins is not made.
func TestNobodyIsAskedTooLate(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	asked, err := nc.SubscribeSync(wire.Subject(rpc))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ask(ctx, wire.NewClient(nc), "late"); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := asked.Pending(); n > 0 || err != nil {
		t.Errorf("%d requests, %v", n, err)
	}
}
