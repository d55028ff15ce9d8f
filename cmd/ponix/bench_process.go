package main

import (
	"time"

	"ponix/cmd/ponix/bench"
)

// benchStart and benchMemory measure processes of their own.
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
}

func (c *benchMemory) Run(e *env) error {
	return c.world(e, bench.Engines{Postgres: true, ClickHouse: true}, func(w *bench.World) (bench.Suite, error) {
		return bench.Memory{Idle: c.Idle, Count: c.Count, Backlog: c.Backlog}.Suite(e.ctx, w)
	})
}
