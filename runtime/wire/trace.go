package wire

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
)

// The headers of W3C Trace Context, https://www.w3.org/TR/trace-context/.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// InjectTrace writes the trace context of ctx into h, if it has one.
func InjectTrace(ctx context.Context, h nats.Header) {
	propagation.TraceContext{}.Inject(ctx, carrier(h))
}

// ExtractTrace returns ctx with the trace context that stands in h, if any.
func ExtractTrace(ctx context.Context, h nats.Header) context.Context {
	if len(h[traceParent]) == 0 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, carrier(h))
}

// carrier is nats.Header as a TextMapCarrier: names keep their case.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { c[key] = []string{value} }
func (c carrier) Keys() []string {
	var keys []string
	for k := range c {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
