package runtime

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"ponix/runtime/wire"
)

// tracing continues the caller's trace, or starts one: every call has a trace
// id, in its logs, its dead letters and in the headers of the calls that it makes,
// whether or not an exporter is configured. Spans are made by OpenTelemetry's global
// provider, as soon as that is one that makes any.
func tracing(next handler) handler {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	tracer := otel.Tracer("ponix")
	var idle atomic.Pointer[trace.TracerProvider] // the global provider that made no span
	return func(ctx context.Context, c *call) ([]byte, error) {
		ctx = wire.ExtractTrace(ctx, c.header)
		span := noSpan
		provider := otel.GetTracerProvider()
		if known := idle.Load(); known == nil || *known != provider {
			ctx, span = tracer.Start(ctx, c.source, options...)
			defer span.End()
			if !span.SpanContext().IsValid() {
				idle.Store(&provider)
			}
		}
		c.trace = trace.SpanContextFromContext(ctx)
		if c.traced = c.trace.IsValid(); !c.traced {
			c.trace = randomSpan() // which ctx has as wire.TraceKey: by deadline, or by chainSource
		}
		out, err := next(ctx, c)
		if err != nil && span.IsRecording() {
			span.SetAttributes(attribute.String("error.type", reason(err)))
			span.SetStatus(otelcodes.Error, err.Error())
		}
		return out, err
	}
}

// BegunTrace returns the trace of the call that ctx is of, if somebody else may know of
// it: its caller has begun it, or it is recorded. One that nobody looks at would only take
// room on the streams.
func BegunTrace(ctx context.Context) trace.SpanContext {
	if c := callOf(ctx); c != nil && c.traced {
		return c.trace
	}
	return trace.SpanContext{}
}

var noSpan = trace.SpanFromContext(context.Background())

func randomSpan() trace.SpanContext {
	var c trace.SpanContextConfig
	binary.NativeEndian.PutUint64(c.TraceID[:8], rand.Uint64()|1) // never all zero
	binary.NativeEndian.PutUint64(c.TraceID[8:], rand.Uint64())
	binary.NativeEndian.PutUint64(c.SpanID[:], rand.Uint64()|1)
	return trace.NewSpanContext(c)
}
