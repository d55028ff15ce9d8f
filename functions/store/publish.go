package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/xid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
)

// publish puts raw envelopes on their stream and answers when each is durable.
func (f store) publish(ctx context.Context, req *envelopev1.PublishRawEnvelopesRequest) (*envelopev1.PublishRawEnvelopesResponse, error) {
	stream := f.streams.RawEnvelopes()
	msgs := make([]*nats.Msg, len(req.Envelopes))
	var bad []*runtime.Violation
	parent := runtime.BegunTrace(ctx)
	for i, e := range req.Envelopes {
		for _, f := range []struct{ name, id string }{{"organization_id", e.OrganizationId}, {"device_id", e.DeviceId}} {
			if !wire.IsID(f.id) {
				bad = append(bad, &runtime.Violation{Field: fmt.Sprintf("envelopes[%d].%s", i, f.name), Description: "must be an id: 1 to 64 letters, digits, '_' or '-'"})
			}
		}
		if e.ReceivedAt != nil && !e.ReceivedAt.IsValid() {
			bad = append(bad, &runtime.Violation{Field: fmt.Sprintf("envelopes[%d].received_at", i), Description: "is not a valid time"})
		}
		data, err := proto.Marshal(e)
		if err != nil {
			return nil, err
		}
		msgs[i] = &nats.Msg{
			Subject: stream.Subject(e.OrganizationId, e.DeviceId), Data: data,
			Header: nats.Header{jetstream.MsgIDHeader: {xid.New().String()}},
		}
		wire.InjectTrace(parent, msgs[i].Header)
	}
	if len(bad) > 0 {
		return nil, runtime.Invalid(bad...)
	}
	resp := &envelopev1.PublishRawEnvelopesResponse{}
	// What others publish may be in the way for as long as the caller has time.
	var patience []jetstream.PublishOpt
	if until, ok := ctx.Deadline(); ok {
		patience = append(patience, jetstream.WithStallWait(max(time.Until(until), time.Millisecond)))
	}
	acks := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		ack, err := f.js.PublishMsgAsync(m, patience...)
		if err != nil {
			return nil, f.publishError(i, m, err)
		}
		acks[i] = ack
	}
	for i, ack := range acks {
		select {
		case stored := <-ack.Ok():
			for stored.Duplicate { // somebody else has used the id
				msgs[i].Header.Set(jetstream.MsgIDHeader, xid.New().String())
				var err error
				if stored, err = f.js.PublishMsg(ctx, msgs[i]); err != nil {
					return nil, f.publishError(i, msgs[i], err)
				}
			}
			resp.EnvelopeIds = append(resp.EnvelopeIds, msgs[i].Header.Get(jetstream.MsgIDHeader))
		case err := <-ack.Err():
			return nil, f.publishError(i, msgs[i], err)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return resp, nil
}

// streamFull is JetStream's error code where a stream refuses what would exceed
// its limits.
const streamFull = 10077

func (f store) publishError(i int, m *nats.Msg, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == streamFull:
		return runtime.Error(codes.ResourceExhausted, "STREAM_FULL", "envelopes[%d]: the stream is full of envelopes that are not processed yet; try again later", i)
	case errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return runtime.Error(codes.ResourceExhausted, "ENVELOPE_TOO_LARGE", "envelopes[%d] has %d bytes with its header, more than the stream is set to take (max_msg_size)", i, m.Size()-len(m.Subject))
	case errors.Is(err, nats.ErrMaxPayload):
		return runtime.Error(codes.ResourceExhausted, "ENVELOPE_TOO_LARGE", "envelopes[%d] has %d bytes with its header, NATS takes %d at most", i, m.Size()-len(m.Subject), f.js.Conn().MaxPayload())
	}
	return runtime.Error(codes.Unavailable, "STREAM_UNAVAILABLE", "envelopes[%d]: %v", i, err)
}
