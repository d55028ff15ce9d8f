package runtime

import (
	"context"
	"errors"
	"fmt"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ponix/runtime/wire"
)

// Call is one invocation as middleware sees it: a request, a message, or a
// batch of messages.
type Call struct {
	Function string
	Source   string      // RPC full method, or stream/consumer
	Header   nats.Header // nil for a batch
	Data     []byte      // nil for a batch
	Messages int         // 1, or the size of the batch
	Message  Message     // zero for a request or a batch
	Trace    trace.SpanContext

	subject string // where a transform's result goes
}

// Handler is the untyped form of every handler.
type Handler func(context.Context, *Call) ([]byte, error)

// Middleware wraps a Handler.
type Middleware func(Handler) Handler

// chain applies the middleware around h, the built-in one outermost.
func (b *binding) chain(h Handler) Handler {
	all := []Middleware{
		tracing(b.host.Tracer),
		logging(b.host.Logger),
		metrics(&b.counters),
		deadline(b.host.Timeout),
	}
	all = append(append(all, b.host.Middleware...), recovery())
	for i := len(all) - 1; i >= 0; i-- {
		h = all[i](h)
	}
	return h
}

// decode makes a message of c's payload and holds it to the rules of its .proto.
func decode[M proto.Message](v protovalidate.Validator, c *Call) (M, error) {
	m := newOf[M]()
	if err := wire.Unmarshal(c.Data, m); err != nil {
		return m, Error(codes.InvalidArgument, "UNDECODABLE", "the payload is not a %s: %v", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return m, validate(v, m)
}

// ruled keeps the validator out of google.protobuf.Struct, which can have no rules
// inside and is expensive to walk; a field that is one may have rules itself.
var ruled = protovalidate.WithFilter(protovalidate.FilterFunc(func(_ protoreflect.Message, d protoreflect.Descriptor) bool {
	f, ok := d.(protoreflect.FieldDescriptor)
	if !ok || f.Kind() != protoreflect.MessageKind || f.Message().FullName() != "google.protobuf.Struct" {
		return true
	}
	return proto.HasExtension(f.Options(), validatepb.E_Field)
}))

// validate turns the violations of protovalidate into INVALID_ARGUMENT with one
// field violation each.
func validate(v protovalidate.Validator, m proto.Message) error {
	err := v.Validate(m, ruled)
	if err == nil {
		return nil
	}
	var bad *protovalidate.ValidationError
	if !errors.As(err, &bad) {
		return fmt.Errorf("the rules of %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var out []*Violation
	for _, x := range bad.Violations {
		out = append(out, &Violation{
			Field:       protovalidate.FieldPathString(x.Proto.GetField()),
			Description: x.Proto.GetMessage(),
			Reason:      reasonOfRule(x.Proto.GetRuleId()),
		})
	}
	return Invalid(out...)
}
