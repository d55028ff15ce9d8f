package wire

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context, https://www.w3.org/TR/trace-context/.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// InjectTrace writes a trace context into h, if it is one, in the place of the one
// that is there. What it writes is that of propagation.TraceContext, which would need
// a context made for it.
func InjectTrace(sc trace.SpanContext, h nats.Header) {
	if !sc.IsValid() {
		delete(h, traceParent)
		delete(h, traceState)
		return
	}
	id, span, flags := sc.TraceID(), sc.SpanID(), byte(sc.TraceFlags()&(trace.FlagsSampled|trace.FlagsRandom))
	var room [55]byte
	text := append(room[:0], "00-"...)
	text = append(hex.AppendEncode(text, id[:]), '-')
	text = append(hex.AppendEncode(text, span[:]), '-')
	h[traceParent] = []string{string(hex.AppendEncode(text, []byte{flags}))}
	if state := sc.TraceState().String(); state != "" {
		h[traceState] = []string{state}
	} else {
		delete(h, traceState)
	}
}

// ExtractTrace returns ctx with the trace context that stands in h, if any.
func ExtractTrace(ctx context.Context, h nats.Header) context.Context {
	if len(h[traceParent]) == 0 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, carrier(h))
}

// TraceKey is the key of a context whose value is the trace.SpanContext of what goes on,
// where that has no span: for most calls none is made.
type TraceKey struct{}

// traceOf returns the trace of ctx, by its span or by TraceKey.
func traceOf(ctx context.Context) trace.SpanContext {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		sc, _ = ctx.Value(TraceKey{}).(trace.SpanContext)
	}
	return sc
}

// carrier is nats.Header as a TextMapCarrier: names keep their case.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { c[key] = []string{value} }
func (c carrier) Keys() []string        { return slices.Sorted(maps.Keys(c)) }
