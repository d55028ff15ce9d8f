package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"ponix/runtime/local"
)

// fault breaks something and mends it before it returns.
type fault struct {
	name string
	// What it works on: two faults of one target do not overlap.
	target string
	do     func(context.Context, *world, *rand.Rand) error
}

// impossible is the error of a fault that this machine does not allow.
type impossible struct{ error }

var faults = []fault{
	{"kill -9 an instance", "instances", func(_ context.Context, w *world, r *rand.Rand) error {
		return pick(r, w.instances()).restart(syscall.SIGKILL, "")
	}},
	{"SIGTERM an instance", "instances", func(_ context.Context, w *world, r *rand.Rand) error {
		return pick(r, w.instances()).restart(syscall.SIGTERM, "")
	}},
	{"pause an instance", "instances", pause},
	{"set an instance's clock", "instances", setClocks},
	{"scale 1-4-1", "instances", scale},
	{"roll to another version", "instances", roll},
	{"cut an instance off NATS", "links", func(ctx context.Context, w *world, r *rand.Rand) error {
		return cutLink(ctx, w, r, way{cut: true})
	}},
	{"pull an instance's cable to NATS", "links", func(ctx context.Context, w *world, r *rand.Rand) error {
		return cutLink(ctx, w, r, way{held: true})
	}},
	{"kill -9 the bridge", "bridge", func(_ context.Context, w *world, _ *rand.Rand) error { return w.bridge.restart(syscall.SIGKILL, "") }},
	{"kill -9 a NATS node", "nats", func(ctx context.Context, w *world, r *rand.Rand) error { return killNode(ctx, pick(r, w.nodes), r) }},
	{"kill -9 the stream's leader", "nats", killLeader},
	{"pause a NATS node", "nats", func(ctx context.Context, w *world, r *rand.Rand) error {
		return stopped(ctx, pick(r, w.nodes).Pid(), between(r, time.Second, 6*time.Second))
	}},
	{"move the stream's leader", "nats", moveLeader},
	{"disk full: a NATS node", "nats", fillNode},
	{"kill -9 PostgreSQL", "postgres", func(ctx context.Context, w *world, r *rand.Rand) error { return w.postgres.kill(ctx, r) }},
	{"cut off PostgreSQL", "postgres", func(ctx context.Context, w *world, r *rand.Rand) error { return w.postgres.cut(ctx, r) }},
	{"slow PostgreSQL", "postgres", func(ctx context.Context, w *world, r *rand.Rand) error { return w.postgres.slow(ctx, r) }},
	{"kill -9 ClickHouse", "clickhouse", func(ctx context.Context, w *world, r *rand.Rand) error { return w.click.kill(ctx, r) }},
	{"cut off ClickHouse", "clickhouse", func(ctx context.Context, w *world, r *rand.Rand) error { return w.click.cut(ctx, r) }},
	{"slow ClickHouse", "clickhouse", func(ctx context.Context, w *world, r *rand.Rand) error { return w.click.slow(ctx, r) }},
	{"disk full: ClickHouse", "clickhouse", fillClickHouse},
	{"ClickHouse refuses: too many parts", "clickhouse", refusal(
		"ALTER TABLE processed_envelopes MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1",
		"ALTER TABLE processed_envelopes RESET SETTING parts_to_throw_insert, parts_to_delay_insert")},
	{"ClickHouse refuses: read-only", "clickhouse", refusal(
		"ALTER TABLE processed_envelopes MODIFY SETTING table_readonly = 1",
		"ALTER TABLE processed_envelopes RESET SETTING table_readonly")},
	// A view that wants more than a query may have: the insert fails, although its
	// rows are written already.
	{"ClickHouse refuses: memory limit", "clickhouse", refusal(
		"CREATE MATERIALIZED VIEW IF NOT EXISTS hog ENGINE = Null AS SELECT length(groupArray(repeat('x', 1000000))) AS n FROM processed_envelopes AS p CROSS JOIN numbers(10000) AS k",
		"DROP VIEW IF EXISTS hog")},
}

// pause stops an instance for longer than its messages wait for it, and lets it
// go on with what is no longer its own.
func pause(ctx context.Context, w *world, r *rand.Rand) error {
	return stopped(ctx, pick(r, w.instances()).pid(), ackWait+between(r, time.Second, 4*time.Second))
}

func stopped(ctx context.Context, pid int, d time.Duration) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); errors.Is(err, syscall.ESRCH) {
		return impossible{err} // it is being started again
	} else if err != nil {
		return err
	}
	err := wait(ctx, d)
	return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
}

// setClocks sets the wall clock of an instance forth or back, and right again.
func setClocks(ctx context.Context, w *world, r *rand.Rand) error {
	pid := pick(r, w.instances()).pid()
	by := between(r, -26*time.Hour, 26*time.Hour)
	if err := setClock(pid, by); err != nil {
		return impossible{err}
	}
	return errors.Join(wait(ctx, between(r, 2*time.Second, 7*time.Second)), setClock(pid, 0))
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

// roll restarts the instances and the bridge, one after the other, as the program
// of the other version.
func roll(_ context.Context, w *world, _ *rand.Rand) error {
	w.path, w.next = w.next, w.path
	for _, i := range append(w.instances(), w.bridge) {
		if err := i.restart(syscall.SIGTERM, w.path); err != nil {
			return err
		}
	}
	return nil
}

// cutLink spoils the way between one instance and NATS.
func cutLink(ctx context.Context, w *world, r *rand.Rand, spoiled way) error {
	i := pick(r, w.instances())
	i.way(spoiled)
	defer i.way(way{})
	return wait(ctx, between(r, time.Second, ackWait+4*time.Second))
}

func killNode(ctx context.Context, n *local.NATSNode, r *rand.Rand) error {
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

// killLeader kills the node that leads one of the streams.
func killLeader(ctx context.Context, w *world, r *rand.Rand) error {
	s, err := w.js.Stream(ctx, pick(r, led))
	if err != nil || s.CachedInfo().Cluster == nil {
		return nil //nolint:nilerr // there may be no leader to kill just now
	}
	for _, n := range w.nodes {
		if n.Name == s.CachedInfo().Cluster.Leader {
			return killNode(ctx, n, r)
		}
	}
	return nil
}

// led are the streams whose leaders are moved and killed.
var led = []string{"raw_envelopes", "processed_envelopes", "end_devices"}

func moveLeader(_ context.Context, w *world, r *rand.Rand) error {
	w.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+pick(r, led), nil, 5*time.Second) //nolint:errcheck // there may be no leader to move just now
	return nil
}

// fillClickHouse fills the disk of ClickHouse. Where a write failed, its process ends by
// itself, so as not to acknowledge what is not there. It is started again in any case.
func fillClickHouse(ctx context.Context, w *world, r *rand.Rand) error {
	if w.click.disk.err != nil {
		return impossible{w.click.disk.err}
	}
	if err := w.click.disk.full(ctx, r); err != nil {
		return err
	}
	return w.click.kill(ctx, r)
}

// fillNode fills the disk of a node. A server of NATS that cannot write gives up
// JetStream, until it is started again.
func fillNode(ctx context.Context, w *world, r *rand.Rand) error {
	i := r.IntN(len(w.nodes))
	if w.disks[i].err != nil {
		return impossible{w.disks[i].err}
	}
	if err := w.disks[i].full(ctx, r); err != nil {
		return err
	}
	return killNode(ctx, w.nodes[i], r)
}

// refusal lets ClickHouse refuse every insert for a while.
func refusal(begin, end string) func(context.Context, *world, *rand.Rand) error {
	return func(ctx context.Context, w *world, r *rand.Rand) error {
		if err := w.insist(ctx, begin); err != nil {
			return err
		}
		return errors.Join(wait(ctx, between(r, 2*time.Second, 6*time.Second)), w.insist(ctx, end))
	}
}

// insist runs a statement on ClickHouse, whose last connection may be broken.
func (w *world) insist(ctx context.Context, sql string) (err error) {
	for range 50 {
		if err = w.db.Exec(ctx, sql); err == nil || wait(ctx, 200*time.Millisecond) != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", sql, err)
}
