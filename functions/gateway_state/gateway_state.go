// Package gatewaystate keeps what is known of each gateway in a bucket, and
// answers from there.
//
// A GatewayState has two writers. This function writes the gateway itself, as
// the events of the stream tell it; mqtt-ingest writes how its connection is.
// Each leaves the other's part as it is, and writes only over the revision that
// it has read.
//
// Events are taken one at a time and in order, but an instance that was paused
// may still have one in hand that another has applied long ago, and those after it.
// So the bucket says which event each gateway is of, and which took it away (see
// position): what is not later changes nothing.
package gatewaystate

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/page"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// New returns the function: it follows the events of gateways and answers every
// method of GatewayStateService.
func New(js jetstream.JetStream, s streams.Config) runtime.Function {
	f := &states{gateways: bucket{js: js, config: s.GatewayStates()}, leases: bucket{js: js, config: s.Leases()}}
	return runtime.Func("gateway-state",
		runtime.Endpoint(pb.GatewayStateService_GetGatewayState_FullMethodName, f.get),
		runtime.Endpoint(pb.GatewayStateService_ListGatewayStates_FullMethodName, f.list,
			page.CheckOwned[*pb.ListGatewayStatesRequest](pb.GatewayStateService_ListGatewayStates_FullMethodName)),
		runtime.OnMessage(s.GatewayEvents(), streams.GatewayState, f.apply)).
		Keeping(s.GatewayStates(), s.Leases()).
		Described("what the gateways are doing now")
}

type states struct{ gateways, leases bucket }

// bucket is opened when it is first used.
type bucket struct {
	js     jetstream.JetStream
	config jetstream.KeyValueConfig

	mu     sync.Mutex
	kv     jetstream.KeyValue
	stream jetstream.Stream // below it
}

// open returns the bucket, and the stream below it.
func (b *bucket) open(ctx context.Context) (jetstream.KeyValue, jetstream.Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv != nil {
		return b.kv, b.stream, nil
	}
	name := b.config.Bucket
	stream, err := b.js.Stream(ctx, "KV_"+name)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // somebody has deleted it
		if err = streams.EnsureBuckets(ctx, b.js, b.config); err == nil {
			stream, err = b.js.Stream(ctx, "KV_"+name)
		}
	}
	var kv jetstream.KeyValue
	if err == nil {
		kv, err = b.js.KeyValue(ctx, name)
	}
	if err != nil {
		return nil, nil, runtime.Error(codes.Unavailable, "BUCKET_UNAVAILABLE", "bucket %s: %v", name, err)
	}
	b.kv, b.stream = kv, stream
	return kv, stream, nil
}

// lost has the bucket opened, and made, again where it is gone. A watch says so with an error
// of its own.
func (b *bucket) lost(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrStreamNotFound) {
		b.mu.Lock()
		b.kv = nil
		b.mu.Unlock()
	}
	return err
}

// apply makes the bucket agree with an event, but for what it has of later ones.
func (f *states) apply(ctx context.Context, g *pb.Gateway) error {
	m := runtime.MessageFrom(ctx)
	at := position{m.Sequence, m.Stored.UnixNano()}
	deleted := strings.HasSuffix(m.Subject, "."+streams.Deleted)
	switch {
	case m.Header.Get(streams.OperationHeader) == streams.Complete:
		since, err := strconv.ParseUint(m.Header.Get(streams.SinceHeader), 10, 64)
		if err != nil {
			return runtime.Terminate(runtime.Error(codes.InvalidArgument, "INVALID_EVENT", "%s: %v", streams.SinceHeader, err))
		}
		return f.keep(ctx, since, at)
	case deleted && g.GatewayId == "":
		// Every row is gone: those that the bucket has. All events before this one were applied.
		return f.gateways.each(ctx, ">", func(e jetstream.KeyValueEntry) error { return f.gateways.change(ctx, e.Key(), nil, at) })
	case g.GatewayId == "":
		return runtime.Terminate(runtime.Error(codes.InvalidArgument, "INVALID_EVENT", "the gateway has no id"))
	case deleted, g.DeletedAt != nil:
		return f.gateways.change(ctx, g.GatewayId, nil, at)
	default:
		return f.gateways.change(ctx, g.GatewayId, g, at)
	}
}

// keep takes away the gateways that nothing has told of between the sequence since and
// the event at a position: a snapshot that took the place of a lost slot.
func (f *states) keep(ctx context.Context, since uint64, at position) error {
	return f.gateways.each(ctx, ">", func(e jetstream.KeyValueEntry) error {
		state := &pb.GatewayState{}
		if proto.Unmarshal(e.Value(), state) == nil {
			if told := positionOf(state).sequence; since <= told && told < at.sequence {
				return nil
			}
		}
		return f.gateways.change(ctx, e.Key(), nil, at)
	})
}
