// Package gatewaystate keeps what is known of each gateway in a bucket, and
// answers from there.
//
// A GatewayState has two writers. This function writes the gateway itself, as
// the events of the stream tell it; mqtt-ingest writes how its connection is.
// Each leaves the other's part as it is, and writes only over the revision that
// it has read.
package gatewaystate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// New returns the function: it follows the events of gateways and answers every
// method of GatewayStateService.
func New(js jetstream.JetStream, s streams.Config) runtime.Function {
	f := &states{gateways: bucket{js: js, name: s.GatewayStates().Bucket}, leases: bucket{js: js, name: s.Leases().Bucket}}
	return runtime.Func("gateway-state",
		runtime.Endpoint(pb.GatewayStateService_GetGatewayState_FullMethodName, f.get),
		runtime.Endpoint(pb.GatewayStateService_ListGatewayStates_FullMethodName, f.list),
		runtime.OnMessage(s.GatewayEvents(), streams.GatewayState, f.apply)).
		Keeping(s.GatewayStates(), s.Leases()).
		Described("what the gateways are doing now")
}

type states struct{ gateways, leases bucket }

// bucket is opened when it is first used.
type bucket struct {
	js   jetstream.JetStream
	name string

	mu sync.Mutex
	kv jetstream.KeyValue
}

func (b *bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv != nil {
		return b.kv, nil
	}
	kv, err := b.js.KeyValue(ctx, b.name)
	if err != nil {
		return nil, runtime.Error(codes.Unavailable, "BUCKET_UNAVAILABLE", "bucket %s: %v", b.name, err)
	}
	b.kv = kv
	return kv, nil
}

// markerTTL is how long a deleted gateway leaves a trace.
const markerTTL = time.Hour

// apply makes the bucket agree with an event.
func (f *states) apply(ctx context.Context, g *pb.Gateway) error {
	kv, err := f.gateways.open(ctx)
	if err != nil {
		return err
	}
	deleted := strings.HasSuffix(runtime.MessageFrom(ctx).Subject, "."+streams.Deleted)
	switch {
	case deleted && g.GatewayId == "":
		// Every row is gone.
		return f.gateways.each(ctx, ">", func(e jetstream.KeyValueEntry) error { return remove(ctx, kv, e.Key()) })
	case g.GatewayId == "":
		return runtime.Terminate(runtime.Error(codes.InvalidArgument, "INVALID_EVENT", "the gateway has no id"))
	case deleted, g.DeletedAt != nil:
		return remove(ctx, kv, g.GatewayId)
	}
	state, revision, err := read(ctx, kv, g.GatewayId)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		state = &pb.GatewayState{Connection: pb.ConnectionStatus_CONNECTION_STATUS_STOPPED, ObservedAt: timestamppb.Now()}
	case errors.Is(err, jetstream.ErrInvalidKey):
		return runtime.Terminate(runtime.Error(codes.InvalidArgument, "INVALID_EVENT", "%q is no id", g.GatewayId))
	case err != nil:
		return err
	}
	state.Gateway = g
	data, err := proto.Marshal(state)
	if err != nil {
		return err
	}
	if revision == 0 {
		_, err = kv.Create(ctx, g.GatewayId, data)
	} else {
		_, err = kv.Update(ctx, g.GatewayId, data, revision)
	}
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists) {
		// mqtt-ingest has written meanwhile.
		return runtime.RetryAfter(10*time.Millisecond, fmt.Errorf("gateway %s: %w", g.GatewayId, err))
	}
	return err
}

func remove(ctx context.Context, kv jetstream.KeyValue, id string) error {
	return kv.Purge(ctx, id, jetstream.PurgeTTL(markerTTL))
}

// read returns a gateway's state and its revision.
func read(ctx context.Context, kv jetstream.KeyValue, id string) (*pb.GatewayState, uint64, error) {
	e, err := kv.Get(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	state := &pb.GatewayState{}
	return state, e.Revision(), proto.Unmarshal(e.Value(), state)
}
