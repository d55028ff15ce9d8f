package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/convert"
	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// The reference's buffer and window.
const (
	limitPull   = 5_000
	limitWindow = 4_096 // a power of two
)

// bareLoop is the limit of the pipeline: consume, decode, convert, encode, publish
// with the id, and acknowledge when the publish is acknowledged; one connection,
// one goroutine for messages and one for acknowledgements, an inbox and a ring
// instead of futures. It gives the same guarantee while nothing goes wrong.
//
// What it publishes says the same as what Ponix publishes: the google.protobuf.Struct
// that the contract demands, by the same encoder.
//
// It leaves out all the rest: devices and organizations (there is one expression),
// validation, deadlines, traces (in the header, too), logs, counters, retries, dead
// letters, publishes that are never answered, a drain.
func (p *pipeline) bareLoop(ctx context.Context) (io.Closer, error) {
	nc, err := p.dial()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	c, err := js.Consumer(ctx, p.config.Streams.Raw, streams.Convert)
	if err != nil {
		return nil, err
	}
	bare, err := convert.BareData(p.config.Limits)
	if err != nil {
		return nil, err
	}
	out, err := newRing(nc)
	if err != nil {
		return nil, err
	}
	to := p.config.Streams.ProcessedEnvelopes()
	cc, err := c.Consume(func(m jetstream.Msg) {
		var in envelopev1.RawEnvelope
		if err := proto.Unmarshal(m.Data(), &in); err != nil {
			return // and the round stalls
		}
		id := m.Headers().Get(jetstream.MsgIDHeader)
		processed := &envelopev1.ProcessedEnvelope{
			OrganizationId: in.OrganizationId, EndDeviceId: in.DeviceId, EnvelopeId: id,
			OccurredAt: in.ReceivedAt, ProcessedAt: timestamppb.Now(),
		}
		if err := bare(ctx, decodeAll, in.Payload, processed); err != nil {
			return
		}
		data, err := proto.Marshal(processed)
		if err != nil {
			return
		}
		out.publish(&nats.Msg{Subject: to.Subject(in.OrganizationId, in.DeviceId), Data: data, Header: nats.Header{jetstream.MsgIDHeader: {id}}}, m)
	}, jetstream.PullMaxMessages(limitPull))
	if err != nil {
		return nil, err
	}
	return closer(func() error { cc.Stop(); nc.Close(); return nil }), nil
}

// ring publishes for one goroutine and acknowledges a message when its result is
// stored.
type ring struct {
	nc      *nats.Conn
	prefix  string
	free    chan struct{}
	waiting [2 * limitWindow]jetstream.Msg
	next    uint64
}

func newRing(nc *nats.Conn) (*ring, error) {
	r := &ring{nc: nc, prefix: nc.NewInbox() + ".", free: make(chan struct{}, limitWindow)}
	sub, err := nc.Subscribe(r.prefix+"*", r.answered)
	if err != nil {
		return nil, err
	}
	return r, errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush())
}

func (r *ring) publish(m *nats.Msg, from jetstream.Msg) {
	r.free <- struct{}{}
	r.next++
	r.waiting[r.next%uint64(len(r.waiting))] = from
	m.Reply = r.prefix + strconv.FormatUint(r.next, 36)
	r.nc.PublishMsg(m) //nolint:errcheck // the round stalls
}

func (r *ring) answered(m *nats.Msg) {
	i, err := strconv.ParseUint(m.Subject[len(r.prefix):], 36, 64)
	if err == nil && bytes.HasPrefix(m.Data, []byte(`{"stream":`)) {
		r.waiting[i%uint64(len(r.waiting))].Ack() //nolint:errcheck // likewise
	}
	<-r.free
}
