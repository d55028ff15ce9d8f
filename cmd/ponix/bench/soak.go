package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ponix/nats/streams"
)

// Soak loads an instance with every function for long.
type Soak struct {
	For      time.Duration
	Rate     int // raw envelopes a second
	Progress func(format string, args ...any)
}

// parts is how many equal parts of the time are told apart.
const parts = 10

// flat is by how much memory may have grown from the third part to the last: before,
// caches fill.
const flat = 1.1

// ever is the whole time, until all is stored.
const ever = "ever"

// Run sends envelopes at the rate, and reports for each part of the time the most
// memory that the instance had in RAM, the rows that were written, and the CPU of
// all processes for each. Each envelope must be one row in the end.
func (s Soak) Run(ctx context.Context, w *World) (*Report, error) {
	if err := w.tables(ctx); err != nil {
		return nil, err
	}
	db, err := w.clickHouse(ctx)
	if err != nil {
		return nil, err
	}
	p, err := w.raw(ctx, "soak", 0, nil)
	if err != nil {
		return nil, err
	}
	p.config.Streams.MaxBytes = 2 << 30 // the default
	c, err := p.serving(ctx)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	suite := s.suite()
	report := newReport(suite)
	total := int(s.For.Seconds() * float64(s.Rate))
	sent := make(chan error, 1)
	go func() {
		_, err := p.target().send(ctx, newRound(), "soak-", schedule{time.Now(), s.Rate}, total, total)
		sent <- err
	}()
	stored := p.settled(p.config.Streams.ProcessedEnvelopes(), streams.Store)
	for _, part := range suite.Cases[:parts] {
		r, err := s.part(ctx, c, stored)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, c.out.tail())
		}
		report.add(part.Name, r)
		s.Progress("soak  %s  %s MiB  %s", part.Name, number(r.values[RSS]), r)
	}
	if err := <-sent; err != nil {
		return nil, err
	}
	whole := newRound()
	whole.spent.known = true
	if err := errors.Join(measure(ctx, newRound(), total, stored), c.most(whole)); err != nil {
		return nil, err
	}
	report.add(ever, whole)
	var rows uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM processed_envelopes FINAL").Scan(&rows); err != nil {
		return nil, err
	}
	if rows != uint64(total) {
		return nil, fmt.Errorf("%d rows of %d envelopes", rows, total)
	}
	report.finish(suite.Goals)
	return report, c.Close()
}

// suite names the parts, and holds them to the bounds.
func (s Soak) suite() Suite {
	all := Suite{
		Name: "soak", About: fmt.Sprintf("an instance with every function, at %d raw envelopes a second for %v", s.Rate, s.For),
		Metrics: []Metric{RSS, Rate, CPU},
	}
	for i := range parts {
		name := fmt.Sprintf("until %v", (s.For * time.Duration(i+1) / parts).Round(time.Second/10))
		all.Cases = append(all.Cases, Case{Name: name})
	}
	all.Goals = []Goal{
		{Of: ever, Metric: RSS, Bound: loadBound, AtMost: true},
		{Of: all.Cases[parts-1].Name, Base: all.Cases[2].Name, Metric: RSS, Bound: flat, AtMost: true},
	}
	all.Cases = append(all.Cases, Case{Name: ever})
	return all
}

// part watches for a part of the time.
func (s Soak) part(ctx context.Context, c *child, stored func(context.Context) (int, error)) (*Round, error) {
	r := newRound()
	before, err := stored(ctx)
	if err != nil {
		return nil, err
	}
	r.Start()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < s.For/parts; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		now, err := c.rss()
		if err != nil {
			return nil, err
		}
		r.Set(RSS, max(now, r.values[RSS]))
	}
	now, err := stored(ctx)
	r.Stop(now - before)
	return r, errors.Join(err, ctx.Err())
}
