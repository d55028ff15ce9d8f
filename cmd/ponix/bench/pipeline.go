package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions"
	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// pipeline is a stream of raw envelopes that competitors convert again and again.
type pipeline struct {
	*World
	total int
}

// Pipeline compares raw → processed with the limit loop, n envelopes a round.
func Pipeline(ctx context.Context, w *World, n int) (Suite, error) {
	p, err := newPipeline(ctx, w, n)
	if err != nil {
		return Suite{}, err
	}
	return Suite{
		Name: "pipeline", About: "raw → processed: device, CEL, JSON, published with its id and acknowledged; the NATS server and all instances in this process",
		Metrics: []Metric{Rate, CPU},
		Cases: []Case{
			{"limit loop", func(ctx context.Context, r *Round) error { return p.run(ctx, r, p.bareLoop) }},
			{"ponix", func(ctx context.Context, r *Round) error { return p.run(ctx, r, p.convert) }},
			{"ponix, two instances", func(ctx context.Context, r *Round) error { return p.run(ctx, r, p.convert, p.convert) }},
		},
		Goals: []Goal{
			{Of: "ponix", Base: "limit loop", Metric: Rate, Bound: 0.85},
			{Of: "ponix", Base: "limit loop", Metric: CPU, Bound: 1.15, AtMost: true},
			{Of: "ponix, two instances", Base: "ponix", Metric: Rate, Bound: 1},
		},
	}, nil
}

// newPipeline fills the raw stream. It stays as it is: what is settled is kept for
// a replay window.
func newPipeline(ctx context.Context, w *World, n int) (*pipeline, error) {
	p := &pipeline{w, n}
	if err := w.directory(ctx); err != nil {
		return nil, err
	}
	raw := w.config.Streams.RawEnvelopes()
	if err := streams.Ensure(ctx, w.js, raw); err != nil {
		return nil, err
	}
	now := timestamppb.Now()
	for i := range n {
		m, err := rawEnvelope(raw, i, "raw-"+strconv.Itoa(i), now)
		if err != nil {
			return nil, err
		}
		if _, err := w.js.PublishMsgAsync(m, jetstream.WithStallWait(30*time.Second)); err != nil {
			return nil, err
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rawEnvelope is what the i-th device sends: the sample, with another temperature.
func rawEnvelope(to streams.Stream, i int, id string, at *timestamppb.Timestamp) (*nats.Msg, error) {
	payload := slices.Clone(sample)
	payload[2], payload[3] = byte(i>>8)&3, byte(i)
	data, err := proto.Marshal(&envelopev1.RawEnvelope{OrganizationId: organization, DeviceId: deviceID(i), Payload: payload, ReceivedAt: at})
	return &nats.Msg{
		Subject: to.Subject(organization, deviceID(i)), Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: {id}},
	}, err
}

// reset empties the processed stream and makes every raw envelope unsettled.
func (p *pipeline) reset(ctx context.Context) error {
	raw, processed := p.config.Streams.RawEnvelopes(), p.config.Streams.ProcessedEnvelopes()
	err := p.js.DeleteStream(ctx, processed.Name)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	if err := streams.Ensure(ctx, p.js, raw, processed); err != nil {
		return err
	}
	return p.rewind(ctx, raw, streams.Convert)
}

// rewind makes every message of a stream unsettled for a consumer, and looks: once in
// some fifty times all were told to be settled as before.
func (w *World) rewind(ctx context.Context, s streams.Stream, durable string) error {
	settled := w.settled(s, durable)
	for end := time.Now().Add(stalled); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := w.js.ResetConsumerToSequence(ctx, s.Name, durable, 1); err != nil {
			return err
		}
		if n, err := settled(ctx); err != nil || n == 0 {
			return err
		}
	}
	return fmt.Errorf("consumer %s of %s is not rewound after %v", durable, s.Name, stalled)
}

// run measures how long the competitors take together for the whole stream.
func (p *pipeline) run(ctx context.Context, r *Round, competitors ...func(context.Context) (io.Closer, error)) (err error) {
	if err := p.reset(ctx); err != nil {
		return err
	}
	for _, start := range competitors {
		c, err := start(ctx)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // all is settled
	}
	if err := measure(ctx, r, p.total, p.settled(p.config.Streams.RawEnvelopes(), streams.Convert)); err != nil {
		return err
	}
	return p.complete(ctx)
}

// complete fails unless every raw envelope has become a processed one.
func (p *pipeline) complete(ctx context.Context) error {
	s, err := p.js.Stream(ctx, p.config.Streams.Processed)
	if err != nil {
		return err
	}
	if got := s.CachedInfo().State.Msgs; got != uint64(p.total) {
		return fmt.Errorf("%d processed envelopes of %d raw ones", got, p.total)
	}
	return nil
}

// settled counts the messages that a consumer has acknowledged.
func (w *World) settled(s streams.Stream, durable string) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		c, err := w.js.Consumer(ctx, s.Name, durable)
		if err != nil {
			return 0, err
		}
		i := c.CachedInfo()
		return int(i.Delivered.Stream) - i.NumAckPending, nil
	}
}

// lastOf is a stream's last sequence.
func (w *World) lastOf(ctx context.Context, of streams.Stream) (int, error) {
	s, err := w.js.Stream(ctx, of.Name)
	if err != nil {
		return 0, err
	}
	return int(s.CachedInfo().State.LastSeq), nil
}

// convert is the product.
func (p *pipeline) convert(ctx context.Context) (io.Closer, error) {
	return p.host(ctx, functions.Deps{}, "convert")
}
