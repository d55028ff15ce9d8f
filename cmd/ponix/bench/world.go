package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/deadletter"
	"ponix/runtime/local"
)

// Engines says what a World has beside NATS.
type Engines struct {
	Postgres, ClickHouse bool
	NATSProcess          bool   // NATS beside this process, not within it
	CacheDir             string // of the engines; empty: where `ponix up` has them
	Logger               *slog.Logger
}

// World is engines of a run's own, as `ponix up` starts them: NATS within the
// process unless it is asked for otherwise, the others beside it, files on the disk of the temporary directory. Our
// code and the limit loops reach NATS over TCP, as they do in production.
type World struct {
	*local.Cluster
	log    *slog.Logger
	dir    string
	conns  []*nats.Conn
	js     jetstream.JetStream // of the observer
	config functions.Config

	closers []func() error // before the connections
	node    *local.NATSNode
}

// Open starts engines. Close the world.
func Open(ctx context.Context, e Engines) (*World, error) {
	dir, err := os.MkdirTemp("", "ponix-bench-")
	if err != nil {
		return nil, err
	}
	w := &World{log: e.Logger, dir: dir, config: config.Default[functions.Config]()}
	w.Cluster, err = local.Start(ctx, local.Options{
		DataDir: dir, CacheDir: e.CacheDir, SkipPostgres: !e.Postgres, SkipClickHouse: !e.ClickHouse, SkipNATS: e.NATSProcess, Logger: e.Logger,
	})
	if err == nil && e.NATSProcess {
		err = w.startNode(ctx)
	}
	if err == nil {
		var nc *nats.Conn
		if nc, err = w.dial(); err == nil {
			w.js, err = jetstream.New(nc)
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// startNode starts a NATS server as a process.
func (w *World) startNode(ctx context.Context) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		return err
	}
	w.node = &local.NATSNode{Name: "bench", DataDir: filepath.Join(w.dir, "nats-process"), Host: "127.0.0.1", Port: port, Sync: 100 * time.Millisecond}
	w.NATSURL = w.node.URL()
	return w.node.Start(ctx)
}

// Close stops the engines and removes their files.
func (w *World) Close() error {
	var err error
	for _, f := range w.closers {
		err = errors.Join(err, f())
	}
	for _, nc := range w.conns {
		nc.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if w.node != nil {
		err = errors.Join(err, w.node.Stop(ctx))
	}
	if w.Cluster != nil {
		err = errors.Join(err, w.Stop(ctx))
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// dial returns a connection that lasts as long as the world, if it is not closed
// before.
func (w *World) dial() (*nats.Conn, error) {
	return w.keep(nats.Connect(w.NATSURL, nats.Name("ponix bench")))
}

// connect returns a connection as ours have it in production, which lasts as long.
func (w *World) connect(ctx context.Context) (*nats.Conn, error) {
	return w.keep(config.NATS{URL: w.NATSURL}.Connect(ctx, "ponix bench", w.log))
}

func (w *World) keep(nc *nats.Conn, err error) (*nats.Conn, error) {
	if err == nil {
		w.conns = append(w.conns, nc)
	}
	return nc, err
}

// host starts the named functions as `ponix serve` does, on a connection of their
// own.
func (w *World) host(ctx context.Context, d functions.Deps, only ...string) (io.Closer, error) {
	nc, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	d.NATS = nc
	all, err := functions.All(d, w.config)
	if err != nil {
		return nil, err
	}
	var fns []runtime.Function
	for _, f := range all {
		if slices.Contains(only, f.Name) {
			fns = append(fns, f)
		}
	}
	return w.start(ctx, nc, 0, fns...)
}

// start runs functions with so many calls in flight each, 0 for the default.
func (w *World) start(ctx context.Context, nc *nats.Conn, concurrency int, fns ...runtime.Function) (io.Closer, error) {
	h, err := runtime.Start(ctx, runtime.Config{Conn: nc, Streams: w.config.Streams, Concurrency: concurrency, Logger: w.log}, fns...)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return closer(func() error { defer nc.Close(); return h.Stop() }), nil
}

// buried is an error where envelopes became dead letters, which are settled, too: no work
// was done for them that counts.
func (w *World) buried(ctx context.Context) error {
	s, err := w.js.Stream(ctx, w.config.Streams.DeadLetters().Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil || s.CachedInfo().State.Msgs == 0 {
		return err
	}
	q, err := deadletter.Open(ctx, w.js, w.config.Streams.DeadLetters().Name)
	if err != nil {
		return err
	}
	l, err := q.Get(ctx, s.CachedInfo().State.LastSeq)
	return errors.Join(err, fmt.Errorf("%d envelopes became dead letters, the last of them by %s: %s", s.CachedInfo().State.Msgs, l.Reason, l.Error))
}

// closer is a function as an io.Closer.
type closer func() error

func (c closer) Close() error { return c() }

// stalled is how long a competitor may make no progress.
const stalled = 30 * time.Second

// measure waits until done says total, and notes how fast that went from a tenth
// on: starting, connecting and filling caches are not measured, unless done does not
// tell of the tenth before half is done.
func measure(ctx context.Context, r *Round, total int, done func(context.Context) (int, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	first, last, moved := 0, 0, time.Now()
	r.Start()
	began := r.from
	for {
		n, err := done(ctx)
		switch {
		case err != nil:
			return err
		case n > last:
			last, moved = n, time.Now()
		case time.Since(moved) > stalled:
			return fmt.Errorf("%d of %d are done, and there was no progress for %v", n, total, stalled)
		}
		if first == 0 && n >= max(total/10, 1) && n < total {
			first = n
			r.Start()
		}
		if n >= total {
			if first > total/2 { // it was told late, and what is left says little
				r.from, first = began, 0
			}
			r.Stop(total - first)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
