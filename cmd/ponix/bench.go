package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"ponix/cmd/ponix/bench"
)

// benchCommand measures Ponix beside its limits; see package bench.
type benchCommand struct {
	Pipeline   benchPipeline   `cmd:"" help:"Raw to processed envelopes."`
	Devices    benchDevices    `cmd:"" help:"Raw to processed envelopes, of more devices than are remembered."`
	Ingest     benchIngest     `cmd:"" help:"Raw envelopes to rows in ClickHouse."`
	Latency    benchLatency    `cmd:"" help:"From raw to processed at fixed rates: here, or on a cluster that runs."`
	CDC        benchCDC        `cmd:"" name:"cdc" help:"Changes in PostgreSQL to events."`
	RPC        benchRPC        `cmd:"" name:"rpc" help:"Calls through the bridge and over NATS."`
	Convert    benchConvert    `cmd:"" help:"Expressions: payload to JSON, without engines."`
	Growth     benchGrowth     `cmd:"" help:"How the cost of a message grows with sizes and numbers, and pictures of it."`
	Start      benchStart      `cmd:"" help:"From the start of a process until it is of use."`
	Durability benchDurability `cmd:"" help:"What it costs to have on the disk what was acknowledged."`
	Soak       benchSoak       `cmd:"" help:"Memory of an instance that is loaded for long."`
	Peer       benchPeer       `cmd:"" hidden:"" help:"Another process of rpc."`
	Memory     benchMemory     `cmd:"" help:"Memory of an instance: idle, loaded, with a backlog, with a slow ClickHouse."`
}

// measured is what every suite takes.
type measured struct {
	format
	CacheDir string `type:"path" help:"Where the engines are kept; fetched once."`
	Rounds   int    `default:"5" help:"Rounds that count, after one that does not."`
	Only     string `help:"Run only the cases whose names have this in them, and their goals."`
	Profile  string `type:"path" help:"File to write a CPU profile to, for go tool pprof."`

	Check     bool    `help:"Fail where a goal is missed, or others used more than a tenth of the CPU."`
	Tolerance float64 `default:"1" help:"With --check: the part of a goal that is enough. Below 1, what others used and absolute times are only told of."`
	Tries     int     `default:"1" help:"With --check: runs at most, until each goal was met in one of them."`
}

// show runs a suite and shows what came of it; then gets it, too.
func (m measured) show(e *env, s bench.Suite, then ...func(*bench.Report) error) error {
	if m.Rounds < 1 || m.Tries < 1 || m.Tolerance <= 0 || m.Tolerance > 1 {
		return &usageError{errors.New("--rounds and --tries must be at least 1, --tolerance above 0 and 1 at most")}
	}
	if m.Only != "" {
		if err := s.Only(m.Only); err != nil {
			return &usageError{err}
		}
	}
	if m.Check && len(s.Goals) == 0 {
		return &usageError{errors.New("there is no goal to check: these cases have none")}
	}
	stop, err := profiling(m.Profile)
	if err != nil {
		return err
	}
	defer stop()
	var tries []*bench.Report
	var missed []string
	for range m.Tries {
		r, err := m.once(e, s)
		for _, f := range then {
			if err == nil {
				err = f(r)
			}
		}
		if err != nil || !m.Check {
			return err
		}
		tries = append(tries, r)
		if missed = bench.Missed(m.Tolerance, tries...); len(missed) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%s: %s", s.Name, strings.Join(missed, "; "))
}

// some is an error where a round would measure nothing.
func some(count int, times ...time.Duration) error {
	if count < 1 || len(times) > 0 && slices.Min(times) <= 0 {
		return &usageError{errors.New("nothing would be measured: numbers must be at least 1, and times above 0")}
	}
	return nil
}

// profiling writes a CPU profile to a file until stop is called; to none, nothing.
func profiling(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close() //nolint:errcheck // pprof says what is missing
	}, nil
}

// once runs a suite and shows what came of it.
func (m measured) once(e *env, s bench.Suite) (*bench.Report, error) {
	r, err := bench.Run(e.ctx, s, bench.Options{Rounds: m.Rounds, Progress: progressed})
	if err != nil {
		return nil, err
	}
	return r, m.report(e.out, r)
}

func progressed(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// report shows what came of a run.
func (f format) report(out *output, r *bench.Report) error {
	if f.Format == "json" {
		return out.json(r)
	}
	fmt.Fprintln(out, r.About)
	out.table(r.Table())
	if len(r.Goals) > 0 {
		fmt.Fprintln(out)
		out.table(r.GoalTable())
	}
	colour := green
	if !r.Good {
		colour = red
	}
	fmt.Fprintf(out, "%s\n\n", out.paint(colour, r.Verdict()))
	return nil
}

// world starts a run's own engines, for f.
func (m measured) world(e *env, needs bench.Engines, f func(*bench.World) (bench.Suite, error), then ...func(*bench.Report) error) error {
	return withWorld(e, m.CacheDir, needs, func(w *bench.World) error {
		s, err := f(w)
		if err != nil {
			return err
		}
		return m.show(e, s, then...)
	})
}

// parts measures one part after the other, each with a profile of its own. Some may lack
// the case or the goals that are asked for, but not all.
func (m measured) parts(e *env, names []string, measure func(measured, string) error) error {
	var missed, without []error
	for _, name := range names {
		part := m
		if m.Profile != "" {
			part.Profile += "." + name
		}
		err := measure(part, name)
		if errors.As(err, new(*usageError)) {
			without = append(without, err)
			continue
		}
		missed = append(missed, err)
		if e.ctx.Err() != nil {
			break
		}
	}
	if len(without) == len(names) {
		return without[0]
	}
	return errors.Join(missed...)
}

func withWorld(e *env, cacheDir string, needs bench.Engines, f func(*bench.World) error) error {
	// What functions tell of themselves is of no interest here, unless it is bad.
	needs.CacheDir, needs.Logger = cacheDir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w, err := bench.Open(e.ctx, needs)
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.Close())
}
