package main

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"time"

	"ponix/cmd/ponix/bench"
	"ponix/nats/streams"
	"ponix/runtime/config"
)

type benchConvert struct {
	measured
	Count int `default:"100000" help:"Payloads in a round."`
}

func (c *benchConvert) Run(e *env) error {
	if err := some(c.Count); err != nil {
		return err
	}
	s, err := bench.Convert(c.Count)
	if err != nil {
		return err
	}
	return c.show(e, s)
}

type benchPipeline struct {
	measured
	Count int `default:"100000" help:"Envelopes in a round."`
}

func (c *benchPipeline) Run(e *env) error {
	if err := some(c.Count); err != nil {
		return err
	}
	return c.world(e, bench.Engines{}, func(w *bench.World) (bench.Suite, error) { return bench.Pipeline(e.ctx, w, c.Count) })
}

type benchDevices struct {
	measured
	Count   int `default:"100000" help:"Envelopes in a round, after as many as there are devices."`
	Devices int `default:"100000" help:"Devices that send in random order."`
}

func (c *benchDevices) Run(e *env) error {
	if c.Count < 1 || c.Devices < 2 {
		return &usageError{errors.New("--count must be at least 1, --devices at least 2")}
	}
	return c.world(e, bench.Engines{}, func(w *bench.World) (bench.Suite, error) { return bench.Devices(e.ctx, w, c.Count, c.Devices) })
}

type benchRPC struct {
	measured
	Duration time.Duration `default:"1s" help:"Time of each case in a round."`
}

func (c *benchRPC) Run(e *env) error {
	if err := some(1, c.Duration); err != nil {
		return err
	}
	return c.world(e, bench.Engines{NATSProcess: true}, func(w *bench.World) (bench.Suite, error) {
		return bench.RPC{Duration: c.Duration, Profile: c.Profile}.Suite(e.ctx, w)
	})
}

// benchPeer is another process of `ponix bench rpc`.
type benchPeer struct {
	Role    string `arg:""`
	NATSURL string `arg:"" name:"nats-url"`
	Profile string `type:"path"`
}

func (c *benchPeer) Run(e *env) (err error) {
	stop, err := profiling(c.Profile)
	if err != nil {
		return err
	}
	defer stop()
	return bench.Peer(e.ctx, c.Role, c.NATSURL, e.log, os.Stdout)
}

type benchIngest struct {
	measured
	Count int `default:"100000" help:"Envelopes in a round."`
}

func (c *benchIngest) Run(e *env) error {
	if err := some(c.Count); err != nil {
		return err
	}
	return c.world(e, bench.Engines{ClickHouse: true}, func(w *bench.World) (bench.Suite, error) { return bench.Ingest(e.ctx, w, c.Count) })
}

type benchLatency struct {
	measured
	Rate     []int         `default:"300,3000,10000" help:"Envelopes a second; a case each."`
	Duration time.Duration `default:"2s" help:"Time of each case in a round, after a second that does not count."`
	Against  string        `placeholder:"URL" help:"Load the cluster that runs at this NATS server, and not that of --nats-url, without the limit loop, at the first rate."`
	Creds    string        `type:"path" help:"File with NATS credentials, of --against."`

	NATS    config.NATS    `embed:"" group:"NATS"`
	Streams streams.Config `embed:"" group:"NATS"`
}

func (c *benchLatency) Run(e *env) error {
	if len(c.Rate) == 0 || slices.Min(c.Rate) < 1 || float64(slices.Min(c.Rate))*c.Duration.Seconds() < 1 {
		return &usageError{errors.New("--rate must be at least 1, and so must be what it makes in --duration")}
	}
	if c.Against == "" {
		return c.world(e, bench.Engines{}, func(w *bench.World) (bench.Suite, error) { return bench.Latency(e.ctx, w, c.Rate, c.Duration) })
	}
	c.NATS.URL, c.NATS.Creds = c.Against, cmp.Or(c.Creds, c.NATS.Creds)
	nc, err := c.NATS.Dial(e.ctx, "ponix bench")
	if err != nil {
		return err
	}
	defer nc.Close()
	s, done, err := bench.Against(e.ctx, nc, c.Streams, c.Rate[0], c.Duration)
	if err != nil {
		return plainStatus(err)
	}
	return errors.Join(c.show(e, s), done())
}

type benchCDC struct {
	measured
	Count    int           `default:"100000" help:"Changes in a round."`
	Duration time.Duration `default:"2s" help:"Time of each case in a round, of commit to subscriber."`
	Parts    []string      `default:"single,whole,live" enum:"single,whole,live" help:"What is measured: single rows, one whole transaction, commit to subscriber."`
}

func (c *benchCDC) Run(e *env) error {
	if err := some(c.Count, c.Duration); err != nil {
		return err
	}
	parts := map[string]func(w *bench.World) (bench.Suite, error){
		"single": func(w *bench.World) (bench.Suite, error) { return bench.CDC(e.ctx, w, c.Count, false) },
		"whole":  func(w *bench.World) (bench.Suite, error) { return bench.CDC(e.ctx, w, c.Count, true) },
		"live":   func(w *bench.World) (bench.Suite, error) { return bench.CDCLatency(e.ctx, w, c.Duration) },
	}
	return c.parts(e, c.Parts, func(m measured, name string) error {
		return m.world(e, bench.Engines{Postgres: true}, parts[name])
	})
}
