package bench

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/nats-io/nats.go"

	"ponix/nats/streams"
)

// Devices compares raw → processed of many devices in random order with that of one
// device. An instance remembers two thirds of them, and no more than it does by
// default. n envelopes a round are measured, after as many as there are devices, so
// that the cache is full by then.
func Devices(ctx context.Context, w *World, n, many int) (Suite, error) {
	w.config.Devices.Size = min(w.config.Devices.Size, many*2/3)
	if err := w.directory(ctx); err != nil {
		return Suite{}, err
	}
	s := Suite{
		Name: "devices", About: fmt.Sprintf("raw → processed, of one device and of %d in random order; an instance remembers %d", many, w.config.Devices.Size),
		Metrics: []Metric{Rate, CPU},
		Goals:   []Goal{{Of: "many devices", Base: "one device", Metric: Rate, Bound: 0.7}},
	}
	for _, c := range []struct {
		name    string
		devices int
	}{{"one device", 1}, {"many devices", many}} {
		p, err := w.random(ctx, fmt.Sprint("of_", c.devices), many+n, c.devices)
		if err != nil {
			return Suite{}, err
		}
		s.Cases = append(s.Cases, Case{c.name, p.afterFirst(many)})
	}
	return s, nil
}

// random returns a pipeline of n raw envelopes of so many devices in random order.
func (w *World) random(ctx context.Context, name string, n, devices int) (*pipeline, error) {
	r := rand.New(rand.NewPCG(1, uint64(devices)))
	return w.raw(ctx, name, n, func(to streams.Stream, i int) (*nats.Msg, error) {
		return envelopeOf(to, i, fmt.Sprintf("dc27sm1ksdua0%07d", r.IntN(devices)), sample)
	})
}

// afterFirst measures the conversion of what follows the first so many envelopes.
func (p *pipeline) afterFirst(n int) func(context.Context, *Round) error {
	return func(ctx context.Context, r *Round) error {
		if err := p.reset(ctx); err != nil {
			return err
		}
		c, err := p.convert(ctx)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // all is settled
		done := p.settled(p.config.Streams.RawEnvelopes(), streams.Convert)
		if err := measure(ctx, newRound(), n, done); err != nil {
			return err
		}
		if err := measure(ctx, r, p.total-n, func(ctx context.Context) (int, error) {
			all, err := done(ctx)
			return all - n, err
		}); err != nil {
			return err
		}
		return p.complete(ctx)
	}
}
