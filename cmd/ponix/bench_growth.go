package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"ponix/cmd/ponix/bench"
)

type benchGrowth struct {
	measured
	Axes []string `arg:"" optional:"" help:"What grows: payload, devices, instances, batch, backlog, gateways; all if none is named."`
	Out  string   `type:"path" placeholder:"DIR" help:"Draw each as an SVG picture in this directory."`

	Count     int   `default:"100000" help:"Messages in a round, at most."`
	Payloads  []int `default:"4,16,64,256,1024,4096,15104" help:"Bytes of a payload."`
	Devices   []int `default:"1,10,100,1000,10000,100000,1000000" help:"Devices that send in random order."`
	Instances []int `default:"1,2,4" help:"Instances on one stream."`
	Batches   []int `default:"1,10,100,1000,10000,100000" help:"Rows that an insert holds at most."`
	Backlogs  []int `default:"0,100000,1000000,10000000" help:"Messages that wait behind those that are measured; 10 million take 3 GB of disk."`
	Gateways  []int `default:"1,10,100,1000" help:"Gateways, each with a broker of its own."`
}

func (c *benchGrowth) Run(e *env) error {
	for _, sizes := range [][]int{c.Payloads, c.Devices, c.Instances, c.Batches, c.Gateways, {c.Count}} {
		if len(sizes) == 0 || sizes[0] < 1 || !grow(sizes) {
			return &usageError{errors.New("sizes must be at least 1, and each larger than the one before")}
		}
	}
	if len(c.Backlogs) == 0 || c.Backlogs[0] < 0 || !grow(c.Backlogs) || c.Payloads[0] < 4 {
		return &usageError{errors.New("a backlog must be at least 0, a payload at least 4, and each larger than the one before")}
	}
	axes := c.Axes
	if len(axes) == 0 {
		axes = bench.Axes
	}
	g := bench.Growth{Count: c.Count, Payloads: c.Payloads, Devices: c.Devices, Instances: c.Instances, Batches: c.Batches, Backlogs: c.Backlogs, Gateways: c.Gateways}
	for _, name := range axes {
		if !slices.Contains(bench.Axes, name) {
			return &usageError{fmt.Errorf("there is no axis %q", name)}
		}
	}
	return c.parts(e, axes, func(m measured, name string) error {
		var axis bench.Axis
		// A thousand brokers in this process would hold a server up that is in it too.
		return m.world(e, bench.Engines{ClickHouse: name == "batch", NATSProcess: name == "gateways"}, func(w *bench.World) (s bench.Suite, err error) {
			axis, err = g.Axis(e.ctx, w, name)
			return axis.Suite, err
		}, func(r *bench.Report) error { return c.draw(axis, name, r) })
	})
}

// grow tells whether each size is larger than the one before: a case has its size as its name.
func grow(sizes []int) bool {
	return slices.IsSorted(sizes) && len(slices.Compact(slices.Clone(sizes))) == len(sizes)
}

// draw writes a picture, where one is asked for.
func (c *benchGrowth) draw(a bench.Axis, name string, r *bench.Report) (err error) {
	if c.Out == "" {
		return nil
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(c.Out, "growth-"+name+".svg"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return a.Draw(f, r)
}
