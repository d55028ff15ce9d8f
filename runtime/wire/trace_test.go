package wire_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"ponix/runtime/wire"
)

// TestInjectTrace holds what is written to what OpenTelemetry writes.
func TestInjectTrace(t *testing.T) {
	t.Parallel()
	state, err := trace.ParseTraceState("vendor=value")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []trace.SpanContextConfig{
		{},
		{TraceID: trace.TraceID{1, 0xab}, SpanID: trace.SpanID{2}},
		{TraceID: trace.TraceID{0xff}, SpanID: trace.SpanID{0xfe}, TraceFlags: trace.FlagsSampled, TraceState: state},
		{TraceID: trace.TraceID{3}, SpanID: trace.SpanID{4}, TraceFlags: 0xff},
	} {
		sc := trace.NewSpanContext(c)
		got, want := nats.Header{"traceparent": {"of before"}, "tracestate": {"of before"}}, propagation.HeaderCarrier{}
		wire.InjectTrace(sc, got)
		propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), sc), want)
		if !maps.EqualFunc(got, lower(want), slices.Equal[[]string]) {
			t.Errorf("%v, not %v", got, want)
		}
		back := trace.SpanContextFromContext(wire.ExtractTrace(context.Background(), got))
		if back.TraceID() != sc.TraceID() || back.SpanID() != sc.SpanID() || back.IsSampled() != sc.IsSampled() || back.TraceState().String() != sc.TraceState().String() {
			t.Errorf("%v is read as %v", sc, back)
		}
	}
}

// lower undoes the capital letters of an http.Header.
func lower(h propagation.HeaderCarrier) map[string][]string {
	out := map[string][]string{}
	for _, k := range h.Keys() {
		out[map[string]string{"Traceparent": "traceparent", "Tracestate": "tracestate"}[k]] = h.Values(k)
	}
	return out
}
