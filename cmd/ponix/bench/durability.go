package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"ponix/functions"
	"ponix/nats/streams"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/local"
	"ponix/runtime/wire"
)

// Durability measures what it costs to have on the disk what was acknowledged:
// publishing to JetStream, rows in ClickHouse, and changes in PostgreSQL, each with
// the setting that we ship and with others. n messages a round, and calls for d.
func Durability(ctx context.Context, w *World, n int, d time.Duration) (Suite, error) {
	s := Suite{
		Name: "durability", About: "what a setting costs that brings to the disk what was acknowledged, beside the one that we ship",
		Metrics: []Metric{Rate, P50, P99, CPU},
	}
	for _, add := range []func(context.Context, *World, *Suite, int, time.Duration) error{syncedNATS, syncedClickHouse, syncedPostgres} {
		if err := add(ctx, w, &s, n, d); err != nil {
			return s, err
		}
	}
	return s, nil
}

// beside shows the ratio of a case's throughput to that of the case that we ship,
// without a bound.
func (s *Suite) beside(base string, cases ...string) {
	for _, c := range cases {
		s.Goals = append(s.Goals, Goal{Of: c, Base: base, Metric: Rate})
	}
}

// syncedNATS publishes raw envelopes to servers that call fsync at different times, and to
// three that replicate.
func syncedNATS(ctx context.Context, w *World, s *Suite, n int, d time.Duration) error {
	const shipped, seldom, always = "JetStream, sync_interval 100ms", "JetStream, sync_interval 2m", "JetStream, sync_interval always"
	const replicas = "JetStream, three replicas on three servers"
	const alone, batches = ", one at a time", ", in atomic batches"
	for _, c := range []struct {
		name       string
		start      func() (*World, error)
		n, batched int // messages a round; batched: in atomic batches, too
	}{
		{shipped, func() (*World, error) { return w.synced("shipped", 100*time.Millisecond, false) }, n, 0},
		{seldom, func() (*World, error) { return w.synced("seldom", 2*time.Minute, false) }, n, 0},
		{always, func() (*World, error) { return w.synced("always", time.Minute, true) }, n / 20, n},
		{replicas, func() (*World, error) { return w.replicated(ctx) }, n / 2, n / 2},
	} {
		own, err := c.start()
		if err != nil {
			return err
		}
		raw := own.config.Streams.RawEnvelopes()
		if err := streams.Ensure(ctx, own.js, raw); err != nil {
			return err
		}
		s.Cases = append(s.Cases, Case{c.name, func(ctx context.Context, r *Round) error { return own.publish(ctx, r, c.n) }})
		if c.batched > 0 {
			s.Cases = append(s.Cases, Case{c.name + batches, func(ctx context.Context, r *Round) error { return own.publishBatches(ctx, r, c.batched) }})
		}
		s.Cases = append(s.Cases,
			Case{c.name + alone, func(ctx context.Context, r *Round) error {
				ids := nuid.New()
				return closedLoop(ctx, r, 1, d, func(ctx context.Context) error {
					m, err := rawEnvelope(raw, 0, ids.Next(), nil)
					if err == nil {
						_, err = own.js.PublishMsg(ctx, m)
					}
					return err
				})
			}})
	}
	s.beside(shipped, seldom, always)
	s.Goals = append(s.Goals, Goal{Of: always + batches, Base: shipped, Metric: Rate, Bound: 0.55})
	s.beside(shipped, replicas, replicas+batches)
	s.beside(shipped+alone, seldom+alone, always+alone, replicas+alone)
	return nil
}

// synced is a world of a NATS server alone, in this process, with that setting.
func (w *World) synced(name string, every time.Duration, always bool) (*World, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: filepath.Join(w.dir, name), SyncInterval: every, SyncAlways: always,
		NoSublistCache: true,
	})
	if err != nil {
		return nil, err
	}
	srv.Start()
	w.closers = append(w.closers, func() error { srv.Shutdown(); srv.WaitForShutdown(); return nil })
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("a NATS server did not get ready")
	}
	return w.publishing(srv.ClientURL())
}

// replicated is a world of the three NATS servers of `ponix up --nats-nodes 3`, each a
// process on this machine.
func (w *World) replicated(ctx context.Context) (*World, error) {
	c, err := local.Start(ctx, local.Options{DataDir: filepath.Join(w.dir, "replicated"), NATSNodes: 3, SkipPostgres: true, SkipClickHouse: true, Logger: w.log})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() error { return c.Stop(context.WithoutCancel(ctx)) })
	own, err := w.publishing(c.NATSURL)
	if err == nil {
		own.config.Streams.Replicas = 3
	}
	return own, err
}

// publishing is a world of those NATS servers.
func (w *World) publishing(url string) (*World, error) {
	own := &World{Cluster: &local.Cluster{NATSURL: url}, log: w.log, dir: w.dir, config: w.config}
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	w.conns = append(w.conns, nc)
	own.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(limitWindow))
	return own, err
}

// emptied takes away all raw envelopes.
func (w *World) emptied(ctx context.Context) error {
	s, err := w.js.Stream(ctx, w.config.Streams.Raw)
	if err != nil {
		return err
	}
	return s.Purge(ctx)
}

// publish measures n publishes that do not wait for each other, each with an id, as
// Ponix publishes.
func (w *World) publish(ctx context.Context, r *Round, n int) error {
	if err := w.emptied(ctx); err != nil {
		return err
	}
	acks := make([]jetstream.PubAckFuture, n)
	ids := nuid.New()
	r.Start()
	for i := range acks {
		m, err := rawEnvelope(w.config.Streams.RawEnvelopes(), i, ids.Next(), nil)
		if err != nil {
			return err
		}
		if acks[i], err = w.js.PublishMsgAsync(m, jetstream.WithStallWait(stalled)); err != nil {
			return err
		}
	}
	for _, a := range acks {
		select {
		case <-a.Ok():
		case err := <-a.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.Stop(n)
	return nil
}

// publishBatches is publish with PONIX_NATS_ATOMIC_BATCHES.
func (w *World) publishBatches(ctx context.Context, r *Round, n int) error {
	if err := w.emptied(ctx); err != nil {
		return err
	}
	p, err := runtime.NewBatching(w.js.Conn(), true, runtime.BatchWindow, stalled)
	if err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	ids := nuid.New()
	r.Start()
	for i := range n {
		m, err := rawEnvelope(w.config.Streams.RawEnvelopes(), i, ids.Next(), nil)
		if err != nil {
			return err
		}
		p.Publish(m, func(err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	p.Close()
	r.Stop(n)
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// syncedClickHouse stores processed envelopes in tables with and without fsync.
func syncedClickHouse(ctx context.Context, w *World, s *Suite, n int, _ time.Duration) error {
	db, err := w.clickHouse(ctx)
	if err != nil {
		return err
	}
	kept := w.config.Streams.ProcessedEnvelopes()
	if err := w.processed(ctx, n); err != nil {
		return err
	}
	const shipped, synced = "ClickHouse, as it comes", "ClickHouse, fsync_after_insert and fsync_part_directory"
	for on, name := range []string{shipped, synced} {
		s.Cases = append(s.Cases, Case{name, func(ctx context.Context, r *Round) error {
			if err := db.Exec(ctx, fmt.Sprintf("ALTER TABLE processed_envelopes MODIFY SETTING fsync_after_insert = %d, fsync_part_directory = %[1]d", on)); err != nil {
				return err
			}
			if err := w.again(ctx, db, kept, streams.Store); err != nil {
				return err
			}
			h, err := w.host(ctx, functions.Deps{ClickHouse: db}, "store")
			if err != nil {
				return err
			}
			return errors.Join(measure(ctx, r, n, w.settled(kept, streams.Store)), h.Close())
		}})
	}
	s.beside(shipped, synced)
	return nil
}

// syncedPostgres creates organizations, some at a time, through the function.
func syncedPostgres(ctx context.Context, w *World, s *Suite, _ int, d time.Duration) error {
	if err := w.tables(ctx); err != nil {
		return err
	}
	const shipped, off = "PostgreSQL, synchronous_commit on", "PostgreSQL, synchronous_commit off"
	nc, err := w.dial()
	if err != nil {
		return err
	}
	client := organizationv1.NewOrganizationServiceClient(wire.NewClient(nc))
	create := func(ctx context.Context) error {
		_, err := client.CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: "durable"})
		return err
	}
	for _, name := range []string{shipped, off} {
		c, err := pgxpool.ParseConfig(w.PostgresURL(""))
		if err != nil {
			return err
		}
		c.MaxConns = 8
		c.ConnConfig.RuntimeParams["synchronous_commit"] = name[strings.LastIndexByte(name, ' ')+1:]
		pool, err := pgxpool.NewWithConfig(ctx, c)
		if err != nil {
			return err
		}
		w.closers = append(w.closers, func() error { pool.Close(); return nil })
		for _, callers := range []int{1, 8} {
			s.Cases = append(s.Cases, Case{fmt.Sprintf("%s, %d", name, callers), func(ctx context.Context, r *Round) error {
				h, err := w.host(ctx, functions.Deps{Postgres: pool}, "organization")
				if err != nil {
					return err
				}
				return errors.Join(closedLoop(ctx, r, callers, d, create), h.Close())
			}})
		}
	}
	s.beside(shipped+", 1", off+", 1")
	s.beside(shipped+", 8", off+", 8")
	return nil
}
