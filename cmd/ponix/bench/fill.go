package bench

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// raw returns a pipeline of n raw envelopes on a stream of its own, of that name.
// message makes the i-th; nil is what rawEnvelope makes, without an id: the server
// need not remember so many.
func (w *World) raw(ctx context.Context, name string, n int, message func(to streams.Stream, i int) (*nats.Msg, error)) (*pipeline, error) {
	if message == nil {
		now := timestamppb.Now()
		message = func(to streams.Stream, i int) (*nats.Msg, error) {
			m, err := rawEnvelope(to, i, "", now)
			m.Header = nil
			return m, err
		}
	}
	own := *w
	own.config.Streams.Raw, own.config.Streams.Processed = "raw_"+name, "processed_"+name
	// What is settled may take half of a stream, and is to stay.
	own.config.Streams.MaxBytes = max(1<<30, int64(n)*600)
	p := &pipeline{&own, n}
	raw := own.config.Streams.RawEnvelopes()
	if err := streams.Ensure(ctx, w.js, raw, own.config.Streams.ProcessedEnvelopes()); err != nil {
		return nil, err
	}
	for i := range n {
		m, err := message(raw, i)
		if err != nil {
			return nil, err
		}
		if _, err := w.js.PublishMsgAsync(m, jetstream.WithStallWait(stalled)); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// envelopeOf is a raw envelope of a device with a payload.
func envelopeOf(to streams.Stream, i int, device string, payload []byte) (*nats.Msg, error) {
	data, err := proto.Marshal(&envelopev1.RawEnvelope{OrganizationId: organization, DeviceId: device, Payload: payload, ReceivedAt: timestamppb.New(time.Now())})
	return &nats.Msg{
		Subject: to.Subject(organization, device), Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: {to.Name + strconv.Itoa(i)}},
	}, err
}
