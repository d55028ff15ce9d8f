package gatewaystate

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// markerTTL is how long a deleted gateway leaves a trace: an instance that is
// paused for longer may bring it back.
const markerTTL = 24 * time.Hour

// positionHeader has the position of the event that took a gateway away.
const positionHeader = "Ponix-Position"

// operationHeader is set where the bucket has a marker instead of a value (ADR-8
// of NATS).
const operationHeader = "KV-Operation"

// record is what the bucket has of a gateway.
type record struct {
	state    *pb.GatewayState // nil: no gateway
	at       position         // of the event that it is of
	revision uint64           // 0: nothing
}

// change makes g what the bucket has of a gateway, nil that it is gone, unless the
// bucket knows that or what came later. Where somebody else writes meanwhile, it
// looks again: what is written was judged by what it is written over.
func (b *bucket) change(ctx context.Context, id string, g *pb.Gateway, at position) error {
	kv, stream, err := b.open(ctx)
	if err != nil {
		return err
	}
	for {
		now, err := b.record(ctx, kv, stream, id)
		switch {
		case errors.Is(err, jetstream.ErrInvalidKey):
			return runtime.Terminate(runtime.Error(codes.InvalidArgument, "INVALID_EVENT", "%q is no id", id))
		case err == nil && at.past(now.at):
			return nil
		case err == nil && g == nil:
			err = b.remove(ctx, id, at, now.revision)
		case err == nil:
			err = put(ctx, kv, g, at, now)
		}
		if !streams.Overtaken(err) {
			return b.lost(err)
		}
	}
}

// record reads what there is of a gateway.
func (b *bucket) record(ctx context.Context, kv jetstream.KeyValue, stream jetstream.Stream, id string) (record, error) {
	state, revision, err := value(ctx, kv, id)
	if err == nil {
		return record{state, positionOf(state), revision}, nil
	}
	if revision > 0 { // it cannot be read: any event is better
		return record{revision: revision}, nil
	}
	if !errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, b.subject(id))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return record{}, nil
	case err != nil:
		return record{}, err
	case m.Header.Get(operationHeader) == "" && m.Header.Get(jetstream.MarkerReasonHeader) == "":
		return record{}, jetstream.ErrKeyRevisionMismatch // there is a value again
	}
	return record{at: parsePosition(m.Header.Get(positionHeader)), revision: m.Sequence}, nil
}

// value reads a gateway's state and its revision, which is there also where the state
// cannot be read.
func value(ctx context.Context, kv jetstream.KeyValue, id string) (*pb.GatewayState, uint64, error) {
	e, err := kv.Get(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	state := &pb.GatewayState{}
	return state, e.Revision(), proto.Unmarshal(e.Value(), state)
}

// put writes a gateway over what there was of it.
func put(ctx context.Context, kv jetstream.KeyValue, g *pb.Gateway, at position, was record) error {
	state := was.state
	if state == nil {
		state = &pb.GatewayState{Connection: pb.ConnectionStatus_CONNECTION_STATUS_STOPPED, ObservedAt: timestamppb.Now()}
	}
	state.Gateway = g
	at.mark(state)
	data, err := proto.Marshal(state)
	if err != nil {
		return err
	}
	_, err = kv.Update(ctx, g.GatewayId, data, was.revision)
	return err
}

// remove is a Purge that leaves the position and writes only over a revision, also
// over none.
func (b *bucket) remove(ctx context.Context, id string, at position, revision uint64) error {
	m := nats.NewMsg(b.subject(id))
	m.Header.Set(operationHeader, "PURGE")
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.Header.Set(positionHeader, at.String())
	_, err := b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithMsgTTL(markerTTL))
	return err
}

func (b *bucket) subject(key string) string { return "$KV." + b.config.Bucket + "." + key }
