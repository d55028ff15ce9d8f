package main

import (
	"errors"
	"fmt"
	"time"

	"ponix/cmd/ponix/bench"
)

type benchStart struct{ measured }

func (c *benchStart) Run(e *env) error {
	return c.world(e, bench.Engines{Postgres: true, ClickHouse: true}, func(w *bench.World) (bench.Suite, error) {
		return bench.Start(e.ctx, w, c.CacheDir)
	})
}

type benchMemory struct {
	measured
	Idle    time.Duration `default:"5s" help:"Time for which an instance does nothing."`
	Count   int           `default:"200000" help:"Envelopes of a load."`
	Backlog int           `default:"2000000" help:"Envelopes that wait behind them, in one of the cases."`
	Large   int           `default:"1000" help:"Envelopes of 250 kB, in one of the cases."`
}

func (c *benchMemory) Run(e *env) error {
	if err := some(min(c.Count, c.Large, c.Backlog+1), c.Idle); err != nil {
		return err
	}
	return c.world(e, bench.Engines{Postgres: true, ClickHouse: true}, func(w *bench.World) (bench.Suite, error) {
		return bench.Memory{Idle: c.Idle, Count: c.Count, Backlog: c.Backlog, Large: c.Large}.Suite(e.ctx, w)
	})
}

type benchDurability struct {
	measured
	Count    int           `default:"50000" help:"Messages in a round; a twentieth where each is synced."`
	Duration time.Duration `default:"1s" help:"Time of each case that calls, in a round."`
}

func (c *benchDurability) Run(e *env) error {
	if err := some(c.Count/20, c.Duration); err != nil {
		return err
	}
	return c.world(e, bench.Engines{Postgres: true, ClickHouse: true}, func(w *bench.World) (bench.Suite, error) {
		return bench.Durability(e.ctx, w, c.Count, c.Duration)
	})
}

type benchSoak struct {
	format
	CacheDir string        `type:"path" help:"Where the engines are kept; fetched once."`
	For      time.Duration `default:"30m" help:"How long."`
	Rate     int           `default:"5000" help:"Raw envelopes a second."`
}

func (c *benchSoak) Run(e *env) error {
	if c.For < time.Second || c.Rate < 1 {
		return &usageError{errors.New("--for must be at least 1s, --rate at least 1")}
	}
	return withWorld(e, c.CacheDir, bench.Engines{Postgres: true, ClickHouse: true}, func(w *bench.World) error {
		r, err := bench.Soak{For: c.For, Rate: c.Rate, Progress: progressed}.Run(e.ctx, w)
		if err != nil {
			return err
		}
		if err = c.report(e.out, r); err != nil {
			return err
		}
		for _, g := range r.Goals {
			if !g.Met {
				err = errors.Join(err, fmt.Errorf("%s is %.2f, not %.2f", g.What, g.Value, g.Bound))
			}
		}
		return err
	})
}
