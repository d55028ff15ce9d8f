package cdc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/xid"
	"google.golang.org/protobuf/proto"

	"ponix/functions/cdc"
	"ponix/migrations"
	"ponix/nats/streams"
	cdcv1 "ponix/proto/ponix/cdc/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

var errNotYet = errors.New("not yet")

// env is a database that is migrated and a NATS server, where instances of the
// function can be started.
type env struct {
	dsn     string
	db      *pgxpool.Pool
	srv     *natsserver.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	streams streams.Config
	config  cdc.Config
	log     io.Writer       // of the instances
	dial    pgconn.DialFunc // of their connections to PostgreSQL; nil: as ever
}

func newEnv(t testing.TB) *env {
	t.Helper()
	return newEnvOn(t, runtimetest.Postgres(t))
}

func newEnvOn(t testing.TB, dsn string) *env {
	t.Helper()
	e := &env{dsn: dsn, srv: runtimetest.NATSServer(t), streams: config.Default[streams.Config](), config: config.Default[cdc.Config](), log: t.Output()}
	// Slots belong to the whole server, which tests share.
	e.config.Slot = "slot_" + xid.New().String()
	m, err := migrations.Postgres(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // what matters is committed
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.db = e.pool(t)
	e.nc = runtimetest.Connect(t, e.srv)
	if e.js, err = jetstream.New(e.nc); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *env) pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(e.dsn)
	if err != nil {
		t.Fatal(err)
	}
	// The tests' PostgreSQL has it off, and then the log gets what was committed
	// only a fifth of a second later.
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	if e.dial != nil {
		config.ConnConfig.DialFunc = e.dial
	}
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// instance runs the function until the test ends, or stop is called.
func (e *env) instance(t testing.TB, options ...nats.Option) (stop func()) {
	t.Helper()
	nc := runtimetest.Connect(t, e.srv, options...)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: e.streams, Logger: slog.New(slog.NewTextHandler(e.log, nil))},
		cdc.New(e.pool(t), nc, js, e.streams, e.config))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := h.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func (e *env) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := e.db.Exec(context.WithoutCancel(t.Context()), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (e *env) status(t testing.TB) (*cdcv1.GetCdcStatusResponse, error) {
	t.Helper()
	return e.statusWithin(t, 5*time.Second)
}

func (e *env) statusWithin(t testing.TB, d time.Duration) (*cdcv1.GetCdcStatusResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return cdcv1.NewCdcServiceClient(wire.NewClient(e.nc)).GetCdcStatus(ctx, &cdcv1.GetCdcStatusRequest{})
}

// streaming waits until an instance has the slot and its snapshot is published.
func (e *env) streaming(t testing.TB) *cdcv1.GetCdcStatusResponse {
	t.Helper()
	var s *cdcv1.GetCdcStatusResponse
	runtimetest.Eventually(t, 20*time.Second, func() (err error) {
		// An instance that hangs is asked as often as the others.
		if s, err = e.statusWithin(t, time.Second); err != nil {
			return err
		}
		reading, err := e.ask(t, "SELECT state = 'streaming' FROM pg_stat_replication AS r JOIN pg_replication_slots AS s ON s.active_pid = r.pid WHERE slot_name = '"+e.config.Slot+"'")
		if err != nil {
			return err
		}
		if s.Owner == "" || !reading {
			return fmt.Errorf("nobody reads the slot: %v", s)
		}
		return nil
	})
	return s
}

// free waits until nobody reads the slot.
func (e *env) free(t testing.TB) {
	t.Helper()
	e.becomes(t, 10*time.Second, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = '"+e.config.Slot+"'")
}

// truth runs SQL that returns a boolean, or nothing.
func (e *env) truth(t testing.TB, sql string) bool {
	t.Helper()
	yes, err := e.ask(t, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return yes
}

// becomes waits until SQL is true.
func (e *env) becomes(t testing.TB, within time.Duration, sql string) {
	t.Helper()
	runtimetest.Eventually(t, within, func() error {
		if !e.truth(t, sql) {
			return errNotYet
		}
		return nil
	})
}

func (e *env) ask(t testing.TB, sql string) (yes bool, err error) {
	t.Helper()
	err = e.db.QueryRow(context.WithoutCancel(t.Context()), "SELECT coalesce(bool_and(b), false) FROM ("+sql+") AS x (b)").Scan(&yes)
	return yes, err
}

// got is an event as a consumer sees it.
type got struct {
	subject, operation, lsn, id string
	since                       string
	committed                   time.Time
	data                        []byte
}

// events returns every event of a stream, once there are so many.
func (e *env) events(t testing.TB, stream string, n int) []got {
	t.Helper()
	return e.eventsWithin(t, stream, n, 20*time.Second)
}

func (e *env) eventsWithin(t testing.TB, stream string, n int, within time.Duration) []got {
	t.Helper()
	var s jetstream.Stream
	var c jetstream.Consumer
	runtimetest.Eventually(t, within, func() (err error) { // an election may be going on
		if s, err = e.js.Stream(t.Context(), stream); err != nil {
			return err
		}
		if msgs := s.CachedInfo().State.Msgs; msgs < uint64(n) {
			return fmt.Errorf("%d of %d events are on %s", msgs, n, stream)
		}
		c, err = s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
		return err
	})
	count := s.CachedInfo().State.Msgs
	var all []got
	for deadline := time.Now().Add(within); uint64(len(all)) < count; {
		batch, err := c.Fetch(int(count)-len(all), jetstream.FetchMaxWait(5*time.Second))
		if err == nil {
			for m := range batch.Messages() {
				all = append(all, gotten(t, m))
			}
			err = batch.Error()
		}
		if err != nil && time.Now().After(deadline) { // likewise
			t.Fatal(err)
		}
	}
	return all
}

func gotten(t testing.TB, m jetstream.Msg) got {
	t.Helper()
	h := m.Headers()
	at, err := time.Parse(time.RFC3339Nano, h.Get(streams.CommitTimeHeader))
	if err != nil && h.Get(streams.OperationHeader) != "" {
		t.Fatal(err)
	}
	return got{m.Subject(), h.Get(streams.OperationHeader), h.Get(streams.LSNHeader), h.Get(jetstream.MsgIDHeader), h.Get(streams.SinceHeader), at, m.Data()}
}

// kinds are the subjects and operations of events, in short.
func kinds(events []got) string {
	var all []string
	for _, ev := range events {
		all = append(all, ev.subject+"/"+ev.operation)
	}
	return strings.Join(all, " ")
}

// decode makes a message of an event's payload.
func decode[M proto.Message](t testing.TB, ev got, m M) M {
	t.Helper()
	if err := proto.Unmarshal(ev.data, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// decimal is a timestamp in seconds.
func decimal(seconds int64, nanos int32) string {
	return fmt.Sprintf("(%d + %d / 1000000000.0)", seconds, nanos)
}
