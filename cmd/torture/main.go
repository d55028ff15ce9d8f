// Command torture holds Ponix to its promises while it breaks everything around
// it: instances and engines as processes of their own, a load, and faults drawn
// from a seed. It prints what it did and what came of it, and exits with 1 when
// a promise was broken; the same seed repeats the run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"ponix/runtime/local"
)

// options is the command line.
type options struct {
	For     time.Duration `name:"for" default:"2m" help:"How long faults are made; starting and draining come on top."`
	Seed    uint64        `help:"Repeats the run with this seed; 0: a new one."`
	Rate    int           `default:"500" help:"Envelopes a second."`
	Ponix   string        `default:"bin/ponix" type:"existingfile" help:"The program to torture."`
	Next    string        `default:"bin/ponix-next" type:"existingfile" help:"The same of another version, to roll to and back."`
	Dir     string        `help:"Where everything is kept; default: a new directory, removed after a good run."`
	Faults  []string      `help:"Only these faults; default: all of them."`
	MQTT    bool          `name:"mqtt" default:"true" negatable:"" help:"Send by MQTT, too."`
	Atomic  bool          `name:"atomic-batches" help:"Have Ponix publish in atomic batches."`
	Verbose bool          `short:"v" help:"Show the faults as they happen."`
}

func main() {
	local.EngineMain()
	var o options
	kong.Parse(&o, kong.Name("torture"), kong.Description("Breaks everything around Ponix and counts what is lost."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

// warmUp is how long there is load before the first fault.
const warmUp = 3 * time.Second

// warm waits a while, and takes the levels of processes that all work.
func warm(ctx context.Context, w *world) (before levels, err error) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if err := wait(ctx, warmUp); err != nil {
			return nil, err
		}
		if before, err = measure(ctx, w); err == nil {
			return before, nil
		}
	}
	return nil, err
}

// run is the whole of it. Its error names the broken promise.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	if _, err := o.chosen(); err != nil {
		return err
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	level := slog.LevelWarn
	if o.Verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "ponix-torture-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(o.Dir)
			}
		}()
	}
	fmt.Fprintf(out, "seed %d, logs in %s\n", o.Seed, o.Dir)
	w, err := newWorld(ctx, o, log)
	if err != nil {
		return err
	}
	defer w.stop()
	l, err := startLoad(ctx, w, o)
	if err != nil {
		return err
	}
	before, err := warm(ctx, w)
	if err != nil {
		return err
	}
	record, err := breakThings(ctx, w, l, o)
	if err != nil {
		return fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	l.stop()
	verdict, err := judge(ctx, w, l, before)
	if o.MQTT {
		l.mqtt.stop()
	}
	record.show(out, verdict, l)
	if err == nil && record.count() == 0 {
		err = errors.New("no fault was made, so nothing is shown")
	}
	if err != nil {
		return fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	return nil
}

// random is the run's source of chance.
func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
