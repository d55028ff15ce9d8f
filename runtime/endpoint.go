package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"ponix/runtime/wire"
)

// Endpoint serves one RPC. Use the generated constant for rpc, for example
// organizationv1.OrganizationService_GetOrganization_FullMethodName.
//
// Checks find what is wrong with a request beside what the rules of its .proto say.
// They run even where a rule is broken, so that a caller hears of all bad fields at
// once; of a field that breaks both, the rule's violation is sent.
//
// All instances share the requests. At most Config.Concurrency of them run at a
// time in one instance, and 64 MiB; above that callers get RESOURCE_EXHAUSTED.
func Endpoint[Req message[T], Resp proto.Message, T any](rpc string, h func(context.Context, Req) (Resp, error), checks ...func(Req) []*Violation) Binding {
	return Binding{
		name:  rpc,
		check: func() error { return checkMethod[Req, Resp](rpc) },
		start: func(ctx context.Context, b *binding) error {
			e := &endpoint{binding: b, ctx: ctx}
			method, err := findMethod(rpc)
			if err != nil {
				return err
			}
			decode := decoder(b.host.validator, checks...)
			e.handle = b.chain(access(method, func(ctx context.Context, c *call) ([]byte, error) {
				req, err := decode(c.data)
				if err != nil {
					return nil, err
				}
				if err := confineRequest(ctx, req); err != nil {
					return nil, err
				}
				if md := wire.IncomingMetadata(c.header); md != nil {
					ctx = metadata.NewIncomingContext(ctx, md)
				}
				resp, err := h(ctx, req)
				if err == nil {
					err = confineReply(ctx, resp)
				}
				if err != nil {
					return nil, err
				}
				return wire.Marshal(resp, wire.IsJSON(c.data))
			}))
			return e.start(method)
		},
	}
}

// endpointBytes bounds the requests that an endpoint runs at a time: as many bytes as four
// bridges have on their way in large ones.
const endpointBytes = 64 << 20

type endpoint struct {
	*binding
	ctx    context.Context
	handle handler
}

func (e *endpoint) start(method protoreflect.MethodDescriptor) error {
	p := newPool(e.host.Concurrency, e.serve)
	p.size, p.most = func(m *nats.Msg) int { return len(m.Data) }, endpointBytes
	sub, err := e.service.addEndpoint(endpointSpec{
		name:     string(method.Name()),
		subject:  wire.Subject(e.name),
		counters: &e.counters,
		metadata: map[string]string{
			"request":  string(method.Input().FullName()),
			"response": string(method.Output().FullName()),
		},
	}, func(m *nats.Msg) {
		if !p.try(m) {
			e.refuse(m)
		}
	})
	if err != nil {
		return err
	}
	e.stopIntake = func() { e.host.drain(sub) }
	e.wait = p.close
	return nil
}

// serve answers one request.
func (e *endpoint) serve(m *nats.Msg) {
	out, err := e.handle(e.ctx, &call{function: e.function, source: e.name, header: m.Header, data: m.Data, messages: 1})
	if m.Reply == "" {
		return
	}
	reply := &nats.Msg{Data: out}
	if e.ctx.Err() != nil && publicStatus(err).Code() == codes.Canceled { // by us, not by the caller
		err = Error(codes.Unavailable, "STOPPING", "the instance stops, and gave the call up")
	}
	if err != nil {
		reply = wire.ErrorReply(brief(publicStatus(err)), wire.IsJSON(m.Data))
	}
	e.reply(m, reply)
}

func (e *endpoint) refuse(m *nats.Msg) {
	err := Error(codes.ResourceExhausted, "AT_CAPACITY", "%s is at capacity: an instance runs %d calls at a time, and %d MiB of requests", e.function, e.host.Concurrency, endpointBytes>>20)
	e.counters.requests.Add(1)
	e.counters.failures.Add(1)
	e.reply(m, wire.ErrorReply(publicStatus(err), wire.IsJSON(m.Data)))
}

// reply publishes on the connection rather than through micro's request, which
// may only be answered before its handler returns.
func (e *endpoint) reply(m, reply *nats.Msg) {
	reply.Subject = m.Reply
	err := e.host.Conn.PublishMsg(reply)
	if errors.Is(err, nats.ErrMaxPayload) {
		tooLarge := Error(codes.ResourceExhausted, "REPLY_TOO_LARGE", "the reply has %d bytes, NATS takes %d at most: ask for less", len(reply.Data), e.host.Conn.MaxPayload())
		reply = wire.ErrorReply(publicStatus(tooLarge), wire.IsJSON(m.Data))
		reply.Subject = m.Reply
		err = e.host.Conn.PublishMsg(reply)
	}
	if err != nil {
		e.logReply.log(e.host.Logger, slog.LevelError, "reply", "source", e.name, "error", err)
	}
}

// checkMethod holds a handler's types to those of the RPC.
func checkMethod[Req, Resp proto.Message](rpc string) error {
	m, err := findMethod(rpc)
	if err != nil {
		return err
	}
	if m.IsStreamingClient() || m.IsStreamingServer() {
		return fmt.Errorf("rpc %s streams, and streams are not carried over NATS", rpc)
	}
	if len(wire.Roles(m)) == 0 {
		return fmt.Errorf("rpc %s does not say who may call it: it needs the option ponix.auth.v1.access", rpc)
	}
	var req Req
	var resp Resp
	in, out := req.ProtoReflect().Descriptor().FullName(), resp.ProtoReflect().Descriptor().FullName()
	if in != m.Input().FullName() || out != m.Output().FullName() {
		return fmt.Errorf("rpc %s takes %s and returns %s, but its handler takes %s and returns %s", rpc, m.Input().FullName(), m.Output().FullName(), in, out)
	}
	return nil
}

func findMethod(rpc string) (protoreflect.MethodDescriptor, error) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(wire.Subject(rpc)))
	if err != nil {
		return nil, fmt.Errorf("rpc %s is in no linked .proto file", rpc)
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not an rpc", rpc)
	}
	return m, nil
}

// drain stops a subscription once what it has received is handed over. While NATS is
// away nobody waits for that any more.
func (h *Host) drain(sub *nats.Subscription) {
	if !h.Conn.IsConnected() {
		sub.Unsubscribe() //nolint:errcheck // the connection is gone, and the subscription with it
		return
	}
	closed := sub.StatusChanged(nats.SubscriptionClosed)
	if sub.Drain() != nil { // likewise
		return
	}
	<-closed
}
