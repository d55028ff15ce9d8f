package bench

import (
	"context"
	"fmt"
	"strconv"

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
	first, err := message(own.config.Streams.RawEnvelopes(), 0)
	if err != nil {
		return nil, err
	}
	own.config.Streams.MaxBytes = room(n, first)
	p := &pipeline{&own, n}
	raw := own.config.Streams.RawEnvelopes()
	if err := streams.Ensure(ctx, w.js, raw, own.config.Streams.ProcessedEnvelopes()); err != nil {
		return nil, err
	}
	// A server throws away what is above 128 MiB and not written yet.
	js, err := jetstream.New(w.js.Conn(), jetstream.WithPublishAsyncMaxPending(min(limitWindow, 32<<20/len(first.Data))))
	if err != nil {
		return nil, err
	}
	for i := range n {
		m, err := message(raw, i)
		if err != nil {
			return nil, err
		}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(stalled)); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := w.js.Stream(ctx, raw.Name)
	if err == nil && s.CachedInfo().State.Msgs < uint64(n) {
		err = fmt.Errorf("%s took %d of %d envelopes", raw.Name, s.CachedInfo().State.Msgs, n)
	}
	return p, err
}

// room is what a stream of n such messages may hold: what is settled may take half of it,
// and is to stay.
func room(n int, m *nats.Msg) int64 { return max(1<<30, int64(n)*int64(2*len(m.Data)+400)) }

// envelopeOf is a raw envelope of a device with a payload.
func envelopeOf(to streams.Stream, i int, device string, payload []byte) (*nats.Msg, error) {
	data, err := proto.Marshal(&envelopev1.RawEnvelope{OrganizationId: organization, DeviceId: device, Payload: payload, ReceivedAt: timestamppb.Now()})
	return &nats.Msg{
		Subject: to.Subject(organization, device), Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: {to.Name + strconv.Itoa(i)}},
	}, err
}
