package runtime

import (
	"context"
	"ponix/runtime/wire"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// valid is a provider whose spans have a context.
type valid struct{ noop.TracerProvider }

func (v *valid) Tracer(string, ...trace.TracerOption) trace.Tracer { return validTracer{} }

type validTracer struct{ noop.Tracer }

var fixed = randomSpan()

func (validTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	ctx = trace.ContextWithSpanContext(ctx, fixed)
	return ctx, trace.SpanFromContext(ctx)
}

// A global provider that is set later is used from then on.
func TestGlobalTracerProvider(t *testing.T) { //nolint:paralleltest // it sets what is global
	traceOf := func(h handler) trace.SpanContext {
		c := &call{header: nats.Header{}}
		if _, err := h(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.trace
	}
	h := tracing(func(context.Context, *call) ([]byte, error) { return nil, nil })
	for range 2 {
		if sc := traceOf(h); !sc.IsValid() || sc.Equal(fixed) {
			t.Errorf("without a provider the trace is %v", sc)
		}
	}
	// A caller's trace goes on also without a provider.
	c := &call{header: nats.Header{}}
	wire.InjectTrace(fixed, c.header)
	if _, err := h(t.Context(), c); err != nil || c.trace.TraceID() != fixed.TraceID() || !c.traced {
		t.Errorf("the caller's trace %v goes on as %v, %v", fixed, c.trace, err)
	}
	otel.SetTracerProvider(&valid{})
	defer otel.SetTracerProvider(noop.NewTracerProvider()) // for the other tests
	if sc := traceOf(h); !sc.Equal(fixed) {
		t.Errorf("with a provider the trace is %v", sc)
	}
}
