package bench

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go"

	"ponix/nats/streams"
	"ponix/runtime/local"
)

// Memory is how the memory of `ponix serve` is measured.
type Memory struct {
	Idle    time.Duration // for which it does nothing
	Count   int           // envelopes of a load
	Backlog int           // envelopes that wait behind them
	Large   int           // envelopes of a load of large ones
}

// The bounds, in MiB.
const (
	idleBound = 64
	loadBound = 256
)

// Suite measures the most memory that an instance with every function ever has in
// RAM: when it does nothing, under full load, with a backlog, while ClickHouse is slow,
// and with payloads of nearly the limit. Each round is a process of its own.
func (m Memory) Suite(ctx context.Context, w *World) (Suite, error) {
	if err := w.tables(ctx); err != nil {
		return Suite{}, err
	}
	db, err := w.clickHouse(ctx)
	if err != nil {
		return Suite{}, err
	}
	load, err := w.raw(ctx, "load", m.Count, nil)
	if err != nil {
		return Suite{}, err
	}
	backlog, err := w.raw(ctx, "backlog", m.Count+m.Backlog, nil)
	if err != nil {
		return Suite{}, err
	}
	picture := make([]byte, 250_000) // 256 KiB is the limit
	large, err := w.raw(ctx, "large", m.Large, func(to streams.Stream, i int) (*nats.Msg, error) {
		return envelopeOf(to, i, camera, picture)
	})
	if err != nil {
		return Suite{}, err
	}
	s := Suite{
		Name: "memory", About: "the most memory that `ponix serve` with every function has in RAM",
		Metrics: []Metric{RSS, Rate, CPU},
		Cases: []Case{
			{"idle", func(ctx context.Context, r *Round) error { return w.idle(ctx, r, m.Idle) }},
			{"full load", func(ctx context.Context, r *Round) error { return load.loaded(ctx, r, db, m.Count) }},
			{"a backlog", func(ctx context.Context, r *Round) error { return backlog.loaded(ctx, r, db, m.Count) }},
			{"a slow ClickHouse", func(ctx context.Context, r *Round) error { return load.behind(ctx, r, db) }},
			{"payloads of 250 kB", func(ctx context.Context, r *Round) error { return large.loaded(ctx, r, db, m.Large) }},
		},
	}
	for _, c := range s.Cases {
		s.Goals = append(s.Goals, Goal{Of: c.Name, Metric: RSS, Bound: loadBound, AtMost: true})
	}
	s.Goals[0].Bound = idleBound
	return s, nil
}

// idle lets an instance do nothing for d.
func (w *World) idle(ctx context.Context, r *Round, d time.Duration) error {
	c, err := w.serving(ctx)
	if err != nil {
		return err
	}
	defer c.kill()
	r.Start()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	r.spent = readUsage().minus(r.from)
	return c.most(r)
}

// serving returns an instance with every function that is ready.
func (w *World) serving(ctx context.Context) (*child, error) {
	c, err := w.serve(ctx)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := c.says(within, "msg=serving"); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// most notes the most memory that a process ever had.
func (c *child) most(r *Round) error {
	most, err := c.peak()
	r.Set(RSS, most)
	return err
}

// anew makes every raw envelope unsettled, and the table empty.
func (p *pipeline) anew(ctx context.Context, db driver.Conn) (*child, error) {
	if err := p.reset(ctx); err != nil {
		return nil, err
	}
	if err := db.Exec(ctx, "TRUNCATE TABLE processed_envelopes"); err != nil {
		return nil, err
	}
	return p.serving(ctx)
}

// loaded measures until so many envelopes are rows.
func (p *pipeline) loaded(ctx context.Context, r *Round, db driver.Conn, n int) error {
	c, err := p.anew(ctx, db)
	if err != nil {
		return err
	}
	defer c.kill()
	err = measure(ctx, r, n, p.settled(p.config.Streams.ProcessedEnvelopes(), streams.Store))
	if err := errors.Join(p.buried(context.WithoutCancel(ctx)), err); err != nil {
		return fmt.Errorf("%w: %s", err, c.out.tail())
	}
	return c.most(r)
}

// behind measures until every envelope is converted, while ClickHouse hardly runs.
func (p *pipeline) behind(ctx context.Context, r *Round, db driver.Conn) error {
	c, err := p.anew(ctx, db)
	if err != nil {
		return err
	}
	defer c.kill()
	defer slowly(p.Pid(local.ClickHouse))()
	err = measure(ctx, r, p.total, p.settled(p.config.Streams.RawEnvelopes(), streams.Convert))
	if err := errors.Join(p.buried(context.WithoutCancel(ctx)), err); err != nil {
		return fmt.Errorf("%w: %s", err, c.out.tail())
	}
	stored, err := p.settled(p.config.Streams.ProcessedEnvelopes(), streams.Store)(ctx)
	if err != nil {
		return err
	}
	if stored > p.total/2 {
		return fmt.Errorf("ClickHouse was not slow: %d of %d envelopes are rows already", stored, p.total)
	}
	return c.most(r)
}

// slowly lets a process run for a hundredth of the time, until end is called.
func slowly(pid int) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer syscall.Kill(pid, syscall.SIGCONT) //nolint:errcheck // it has ended
		for {
			for _, s := range []struct {
				signal syscall.Signal
				then   time.Duration
			}{{syscall.SIGSTOP, 198 * time.Millisecond}, {syscall.SIGCONT, 2 * time.Millisecond}} {
				syscall.Kill(pid, s.signal) //nolint:errcheck // likewise
				select {
				case <-stop:
					return
				case <-time.After(s.then):
				}
			}
		}
	}()
	return func() { close(stop); <-ended }
}
