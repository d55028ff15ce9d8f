package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	sigterm = syscall.SIGTERM
	sigcont = syscall.SIGCONT
)

// fault breaks something and mends it before it returns.
type fault struct {
	name string
	// What it works on: two faults of one target do not overlap.
	target string
	do     func(context.Context, *world, *rand.Rand) error
}

var faults = []fault{
	{"kill -9 an instance", "instances", func(_ context.Context, w *world, r *rand.Rand) error {
		return pick(r, w.instances()).restart(syscall.SIGKILL)
	}},
	{"SIGTERM an instance", "instances", func(_ context.Context, w *world, r *rand.Rand) error { return pick(r, w.instances()).restart(sigterm) }},
	{"pause an instance", "instances", pause},
	{"scale 1-4-1", "instances", scale},
	{"rolling restart", "instances", func(_ context.Context, w *world, _ *rand.Rand) error {
		for _, i := range w.instances() {
			if err := i.restart(sigterm); err != nil {
				return err
			}
		}
		return nil
	}},
	{"kill -9 the bridge", "bridge", func(_ context.Context, w *world, _ *rand.Rand) error { return w.bridge.restart(syscall.SIGKILL) }},
	{"kill -9 a NATS node", "nats", killNode},
	{"pause a NATS node", "nats", func(ctx context.Context, w *world, r *rand.Rand) error {
		return stopped(ctx, pick(r, w.nodes).Pid(), between(r, time.Second, 6*time.Second))
	}},
	{"move the stream's leader", "nats", moveLeader},
	{"kill -9 PostgreSQL", "postgres", func(ctx context.Context, w *world, r *rand.Rand) error { return w.postgres.kill(ctx, r) }},
	{"cut off PostgreSQL", "postgres", func(ctx context.Context, w *world, r *rand.Rand) error { return w.postgres.cut(ctx, r) }},
	{"slow PostgreSQL", "postgres", func(ctx context.Context, w *world, r *rand.Rand) error { return w.postgres.slow(ctx, r) }},
	{"kill -9 ClickHouse", "clickhouse", func(ctx context.Context, w *world, r *rand.Rand) error { return w.click.kill(ctx, r) }},
	{"cut off ClickHouse", "clickhouse", func(ctx context.Context, w *world, r *rand.Rand) error { return w.click.cut(ctx, r) }},
	{"slow ClickHouse", "clickhouse", func(ctx context.Context, w *world, r *rand.Rand) error { return w.click.slow(ctx, r) }},
	{"ClickHouse refuses: too many parts", "clickhouse", tooManyParts},
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// pause stops an instance for longer than its messages wait for it, and lets it
// go on with what is no longer its own.
func pause(ctx context.Context, w *world, r *rand.Rand) error {
	i := pick(r, w.instances())
	return stopped(ctx, i.cmd.Process.Pid, ackWait+between(r, time.Second, 4*time.Second))
}

func stopped(ctx context.Context, pid int, d time.Duration) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	err := wait(ctx, d)
	return errors.Join(err, syscall.Kill(pid, sigcont))
}

func scale(ctx context.Context, w *world, r *rand.Rand) error {
	for _, n := range []int{1, 4, 1, 2} {
		if err := w.scale(n); err != nil {
			return err
		}
		if err := wait(ctx, between(r, time.Second, 3*time.Second)); err != nil {
			return err
		}
	}
	return nil
}

func killNode(ctx context.Context, w *world, r *rand.Rand) error {
	n := pick(r, w.nodes)
	if err := syscall.Kill(n.Pid(), syscall.SIGKILL); err != nil {
		return err
	}
	<-n.Failed() //nolint:errcheck // it says that it was killed
	if err := wait(ctx, between(r, 0, 4*time.Second)); err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	return wait(ctx, 3*time.Second) // two nodes may not be away at once
}

func moveLeader(_ context.Context, w *world, r *rand.Rand) error {
	stream := pick(r, []string{"raw_envelopes", "processed_envelopes", "end_devices"})
	w.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 5*time.Second) //nolint:errcheck // there may be no leader to move just now
	return nil
}

func (e *engine) kill(ctx context.Context, r *rand.Rand) error {
	if err := syscall.Kill(e.cluster.Pid(e.part), syscall.SIGKILL); err != nil {
		return err
	}
	if err := wait(ctx, between(r, 0, 5*time.Second)); err != nil {
		return err
	}
	return e.start(ctx)
}

func (e *engine) cut(ctx context.Context, r *rand.Rand) error {
	e.proxy.set(true, 0)
	defer e.proxy.set(false, 0)
	return wait(ctx, between(r, time.Second, 8*time.Second))
}

func (e *engine) slow(ctx context.Context, r *rand.Rand) error {
	e.proxy.set(false, between(r, 20*time.Millisecond, 300*time.Millisecond))
	defer e.proxy.set(false, 0)
	return wait(ctx, between(r, 2*time.Second, 6*time.Second))
}

// tooManyParts lets ClickHouse refuse every insert for a while.
func tooManyParts(ctx context.Context, w *world, r *rand.Rand) error {
	const alter = "ALTER TABLE processed_envelopes MODIFY SETTING parts_to_throw_insert = "
	if w.db.Exec(ctx, alter+"1, parts_to_delay_insert = 1") != nil {
		return nil // ClickHouse is not there to refuse anything
	}
	err := wait(ctx, between(r, 2*time.Second, 6*time.Second))
	for ctx.Err() == nil {
		if w.db.Exec(ctx, "ALTER TABLE processed_envelopes RESET SETTING parts_to_throw_insert, parts_to_delay_insert") == nil {
			break
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			break
		}
	}
	return err
}

// breakThings draws faults from the seed until the time is over. Up to two are at
// work at once, on different targets.
func breakThings(ctx context.Context, w *world, l *load, o options) (*record, error) {
	chosen := faults
	if len(o.Faults) > 0 {
		chosen = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !slices.Contains(o.Faults, f.name) })
		if len(chosen) == 0 {
			var names []string
			for _, f := range faults {
				names = append(names, f.name)
			}
			return nil, fmt.Errorf("there is no such fault; choose from: %s", strings.Join(names, ", "))
		}
	}
	rec := newRecord()
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	// A fault that has begun is mended, also after the time is over.
	patient, release := context.WithTimeout(context.WithoutCancel(ctx), o.For+2*time.Minute)
	defer release()
	var running sync.WaitGroup
	var busy sync.Map
	failed := make(chan error, 1)
	slots := make(chan struct{}, 2)
	for r := random(o.Seed); ctx.Err() == nil; {
		f, seed, gap := pick(r, chosen), r.Uint64(), between(r, 100*time.Millisecond, 2*time.Second)
		if _, taken := busy.LoadOrStore(f.target, true); !taken {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { busy.Delete(f.target); <-slots }()
				w.log.Info("fault", "name", f.name)
				began := time.Now()
				if err := f.do(patient, w, random(seed)); err != nil {
					select {
					case failed <- fmt.Errorf("%s: %w", f.name, err):
					default:
					}
				}
				ended := time.Now()
				rec.add(f.name, span{began, ended, l.recovered(patient)})
			})
		}
		select {
		case err := <-failed:
			cancel()
			running.Wait()
			return rec, err
		case <-ctx.Done():
		case <-time.After(gap):
		}
	}
	running.Wait()
	select {
	case err := <-failed:
		return rec, err
	default:
		return rec, nil
	}
}
