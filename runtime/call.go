package runtime

import (
	"context"
	"time"

	"buf.build/go/protovalidate"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"ponix/runtime/wire"
)

// call is one invocation as middleware sees it: a request, a message, or a
// batch of messages.
type call struct {
	function string
	source   string      // RPC full method, or stream/consumer
	header   nats.Header // nil for a batch
	data     []byte      // nil for a batch
	messages int         // 1, or the size of the batch
	message  Message     // zero for a request or a batch
	trace    trace.SpanContext

	traced  bool // somebody else may know of the trace: it is the caller's, or is recorded
	began   time.Time
	bounded deadlineContext
	subject string // where a transform's result goes
	unheard bool   // nobody waits who would hear of an error
}

type callKey struct{}

// callOf returns the call that ctx is of, nil outside of one.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// handler is the untyped form of every handler.
type handler func(context.Context, *call) ([]byte, error)

// chain applies the middleware around h.
func (b *binding) chain(h handler) handler {
	h = tracing(logging(b.host.Logger, &b.logCall, metrics(&b.counters, deadline(b.host.Timeout, recovery(h)))))
	return func(ctx context.Context, c *call) ([]byte, error) {
		c.began = time.Now()
		return h(ctx, c)
	}
}

// decoder returns what makes a message of a payload, and holds it to the rules of its
// .proto and to checks.
func decoder[M message[T], T any](v protovalidate.Validator, checks ...func(M) []*Violation) func(payload []byte) (M, error) {
	rules := rulesOf(v, M(new(T)).ProtoReflect().Descriptor())
	return func(payload []byte) (M, error) {
		m := M(new(T))
		if bad := rules.tooMany(payload); bad != nil {
			return m, Invalid(bad)
		}
		if err := wire.Unmarshal(payload, m); err != nil {
			return m, Error(codes.InvalidArgument, "UNDECODABLE", "the payload is not a %s: %v", m.ProtoReflect().Descriptor().FullName(), err)
		}
		bad, err := rules.violations(m)
		if err != nil {
			return m, err
		}
		if bad = withChecked(bad, m, checks); bad != nil {
			return m, Invalid(bad...)
		}
		return m, nil
	}
}

// withChecked adds what checks find wrong with m to what rules have found. Of a field that
// is there already, it is left out.
func withChecked[M any](bad []*Violation, m M, checks []func(M) []*Violation) []*Violation {
	var named map[string]bool // the fields of bad; there may be many
	for _, check := range checks {
		more := check(m)
		if named == nil && len(more) > 0 {
			named = map[string]bool{}
			for _, b := range bad {
				named[b.Field] = true
			}
		}
		for _, b := range more {
			if !named[b.Field] {
				named[b.Field] = true
				bad = append(bad, b)
			}
		}
	}
	return bad
}
