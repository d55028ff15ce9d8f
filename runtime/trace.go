package runtime

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"ponix/runtime/wire"
)

// tracing continues the caller's trace, or starts one: every call has a trace
// id, in its logs and in the headers of the calls that it makes, whether or not
// an exporter is configured. Without a tracer it is that of OpenTelemetry's global
// provider, as soon as that is one that makes spans.
func tracing(tracer trace.Tracer) Middleware {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	var idle trace.TracerProvider
	if tracer == nil {
		tracer, idle = otel.Tracer("ponix"), idleProvider()
	}
	return func(next Handler) Handler {
		return func(ctx context.Context, c *Call) ([]byte, error) {
			ctx = wire.ExtractTrace(ctx, c.Header)
			span := noSpan
			if idle == nil || otel.GetTracerProvider() != idle {
				ctx, span = tracer.Start(ctx, c.Source, options...)
				defer span.End()
			}
			if !span.SpanContext().IsValid() {
				ctx = trace.ContextWithSpanContext(ctx, randomSpan())
			}
			c.Trace = trace.SpanContextFromContext(ctx)
			out, err := next(ctx, c)
			if err != nil && span.IsRecording() {
				span.SetAttributes(attribute.String("error.type", reason(err)))
				span.SetStatus(otelcodes.Error, err.Error())
			}
			return out, err
		}
	}
}

var noSpan = trace.SpanFromContext(context.Background())

// idleProvider returns OpenTelemetry's global provider if it makes no spans, which is
// so until somebody sets another.
func idleProvider() trace.TracerProvider {
	p := otel.GetTracerProvider()
	_, span := p.Tracer("ponix").Start(context.Background(), "")
	if span.SpanContext().IsValid() {
		span.End()
		return nil
	}
	return p
}

func randomSpan() trace.SpanContext {
	var c trace.SpanContextConfig
	binary.NativeEndian.PutUint64(c.TraceID[:8], rand.Uint64()|1) // never all zero
	binary.NativeEndian.PutUint64(c.TraceID[8:], rand.Uint64())
	binary.NativeEndian.PutUint64(c.SpanID[:], rand.Uint64()|1)
	return trace.NewSpanContext(c)
}
