package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nats-io/nats.go"

	"ponix/nats/streams"
)

// Axis is what the cost of a message is drawn against: a suite with a case for each
// size.
type Axis struct {
	Suite
	X     string // what a size is
	Sizes []int  // of the cases, in their order
}

// add adds a case.
func (a *Axis) add(size int, name string, run func(context.Context, *Round) error) {
	a.Sizes = append(a.Sizes, size)
	a.Cases = append(a.Cases, Case{name, run})
}

// steady is by how much the cost of a message may grow from the last size but one to
// the last, where the cost of all is to be linear.
const steady = 1.25

// bounded adds the goal that the cost of all does not grow faster than linearly in
// the end: where a size is that of a message (perMessage), the cost of one may grow
// as its size does; otherwise it may not.
func (a *Axis) bounded(perMessage bool) {
	n := len(a.Cases)
	if n < 2 {
		return
	}
	bound := steady
	if perMessage {
		bound = float64(a.Sizes[n-1]) / float64(a.Sizes[n-2])
	}
	a.Goals = append(a.Goals, Goal{Of: a.Cases[n-1].Name, Base: a.Cases[n-2].Name, Metric: CPU, Bound: bound, AtMost: true})
}

// Axes are the names that Growth knows.
var Axes = []string{"payload", "devices", "instances", "batch", "backlog", "gateways"}

// Growth is how the cost of a message is measured as something grows.
type Growth struct {
	Count int // messages in a round, at most

	Payloads, Devices, Instances, Batches, Backlogs, Gateways []int
}

// Axis prepares the measurement against the named one of Axes. The instances of
// Ponix are processes of their own.
func (g Growth) Axis(ctx context.Context, w *World, name string) (a Axis, err error) {
	a.Metrics = []Metric{Rate, CPU, RSS}
	a.Name = "growth, " + name
	switch name {
	case "payload":
		err = g.payloads(ctx, w, &a)
	case "devices":
		err = g.devices(ctx, w, &a)
	case "instances":
		err = g.instances(ctx, w, &a)
	case "batch":
		err = g.batches(ctx, w, &a)
	case "backlog":
		err = g.backlogs(ctx, w, &a)
	case "gateways":
		err = g.gateways(ctx, w, &a)
	default:
		err = fmt.Errorf("there is no axis %q: choose from %s", name, strings.Join(Axes, ", "))
	}
	a.bounded(name == "payload")
	return a, err
}

func (g Growth) payloads(ctx context.Context, w *World, a *Axis) error {
	a.About, a.X = "raw → processed, by the size of a payload", "bytes of a payload (Cayenne LPP)"
	if err := w.directory(ctx); err != nil {
		return err
	}
	for _, size := range g.Payloads {
		payload := readings(size)
		if n := len(a.Sizes); n > 0 && a.Sizes[n-1] == len(payload) {
			return fmt.Errorf("a payload of %d bytes would have %[2]d, as the one before: they are made of whole readings, and of 15 104 bytes at most", size, len(payload))
		}
		n := max(g.Count/100, min(g.Count, g.Count*256/len(payload)))
		p, err := w.raw(ctx, fmt.Sprint("payload_", len(payload)), n, func(to streams.Stream, i int) (*nats.Msg, error) {
			return envelopeOf(to, i, deviceID(i), payload)
		})
		if err != nil {
			return err
		}
		a.add(len(payload), fmt.Sprintf("%d bytes", len(payload)), p.converted(n, 1))
	}
	return nil
}

// readings is a payload of so many bytes, or some less: all kinds of readings on the
// first channel, then on the next. 256 channels take 15 104 bytes.
func readings(size int) (payload []byte) {
	kinds := []struct{ kind, size byte }{
		{103, 2}, {104, 1}, {2, 2}, {115, 2}, {113, 6}, {136, 9}, {0, 1}, {1, 1}, {3, 2}, {101, 2}, {102, 1}, {134, 6},
	}
	for channel := range 256 {
		for _, k := range kinds {
			if len(payload)+2+int(k.size) <= size {
				payload = append(payload, byte(channel), k.kind)
				payload = append(payload, make([]byte, k.size)...)
			}
		}
	}
	return payload
}

func (g Growth) devices(ctx context.Context, w *World, a *Axis) error {
	a.About, a.X = fmt.Sprintf("raw → processed, by the number of devices that send in random order; an instance remembers %d", w.config.Devices.Size), "devices"
	if err := w.directory(ctx); err != nil {
		return err
	}
	for _, n := range g.Devices {
		p, err := w.random(ctx, fmt.Sprint("devices_", n), g.Count, n)
		if err != nil {
			return err
		}
		a.add(n, fmt.Sprintf("%d devices", n), p.converted(g.Count, 1))
	}
	return nil
}

func (g Growth) instances(ctx context.Context, w *World, a *Axis) error {
	a.About, a.X = "raw → processed, by the number of instances on one stream", "instances"
	if err := w.directory(ctx); err != nil {
		return err
	}
	p, err := w.raw(ctx, "instances", g.Count, nil)
	if err != nil {
		return err
	}
	for _, n := range g.Instances {
		a.add(n, fmt.Sprintf("%d instances", n), p.converted(g.Count, n))
	}
	return nil
}

func (g Growth) backlogs(ctx context.Context, w *World, a *Axis) error {
	a.About, a.X = "raw → processed, by the number of messages that wait behind those", "messages that wait"
	if err := w.directory(ctx); err != nil {
		return err
	}
	for _, behind := range g.Backlogs {
		p, err := w.raw(ctx, fmt.Sprint("backlog_", behind), g.Count+behind, nil)
		if err != nil {
			return err
		}
		a.add(behind, fmt.Sprintf("%d behind", behind), p.converted(g.Count, 1))
	}
	return nil
}

// converted measures so many instances until they have converted the first n.
func (p *pipeline) converted(n, instances int) func(context.Context, *Round) error {
	return func(ctx context.Context, r *Round) error {
		if err := p.reset(ctx); err != nil {
			return err
		}
		return p.processes(ctx, r, instances, n, p.settled(p.config.Streams.RawEnvelopes(), streams.Convert), "convert")
	}
}

// processes measures instances of these functions until done says n, and how much
// memory they had at most.
func (w *World) processes(ctx context.Context, r *Round, instances, n int, done func(context.Context) (int, error), functions ...string) error {
	var all []*child
	for range instances {
		c, err := w.serve(ctx, functions...)
		if err != nil {
			return err
		}
		defer c.kill()
		all = append(all, c)
	}
	err := measure(ctx, r, n, func(ctx context.Context) (int, error) {
		for _, c := range all {
			if err := c.alive(); err != nil {
				return 0, err
			}
		}
		return done(ctx)
	})
	err = errors.Join(err, w.buried(context.WithoutCancel(ctx)))
	var sum float64
	for _, c := range all {
		most, err2 := c.peak()
		sum += most
		err = errors.Join(err, err2)
	}
	r.Set(RSS, sum)
	return err
}

// Draw writes what was measured as an SVG picture: a panel for each figure, with the
// sizes whose cases ran.
func (a Axis) Draw(to io.Writer, r *Report) error {
	c := chart{title: a.About, x: a.X}
	for _, m := range a.Metrics {
		p := panel{title: titles[m]}
		for i, size := range a.Sizes {
			if f, measured := r.result(a.Cases[i].Name).Figures[m]; measured {
				p.points = append(p.points, point{float64(size), f.Median, f.low(), f.high()})
			}
		}
		if len(p.points) > 0 {
			c.panels = append(c.panels, p)
		}
	}
	_, err := io.WriteString(to, c.svg())
	return err
}

// titles are the figures as a picture names them.
var titles = map[Metric]string{Rate: "messages a second", CPU: "CPU for each, µs, of all processes", Own: "CPU for each, µs, of Ponix alone", RSS: "memory of Ponix, MiB, at most"}
