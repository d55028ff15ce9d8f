package cdc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/xid"

	"ponix/migrations"
	"ponix/nats/streams"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestLockIsTakenMeanwhile has another take the lock after a standby has seen that nobody has it:
// there is one owner all the same.
func TestLockIsTakenMeanwhile(t *testing.T) {
	t.Parallel()
	conf, err := pgxpool.ParseConfig(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	var other *session
	var meanwhile atomic.Bool
	c := &capture{Config: Config{Slot: "slot_" + xid.New().String()}}
	conf.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error {
		if !meanwhile.CompareAndSwap(true, false) {
			return nil
		}
		ours, err := other.lock(ctx, c.Slot)
		if !ours && err == nil {
			err = errors.New("nobody gets the lock")
		}
		return err
	}
	if c.db, err = pgxpool.NewWithConfig(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.db.Close)
	if other, err = connect(t.Context(), c.db); err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if err := c.db.Ping(t.Context()); err != nil { // the pool has a connection
		t.Fatal(err)
	}
	meanwhile.Store(true)
	s, err := c.tryLock(t.Context())
	if err != nil || s != nil || meanwhile.Load() {
		t.Errorf("there are two owners: %v, %v", s, err)
	}
}

// TestStateIsTakenMeanwhile has another write the state that an owner has read: the owner makes
// no slot, and publishes nothing.
func TestStateIsTakenMeanwhile(t *testing.T) {
	t.Parallel()
	o := ownerOf(t)
	if err := o.takeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer o.stopPublisher()
	if err := o.keeper.save(t.Context(), &state{Generation: "of another"}); err != nil {
		t.Fatal(err)
	}
	if err := o.prepare(t.Context()); !errors.Is(err, errTakenOver) {
		t.Errorf("it goes on: %v", err)
	}
	if slot, err := o.slot(t.Context(), o.Slot); err != nil || slot.exists {
		t.Errorf("the slot is %+v, %v", slot, err)
	}
}

// TestSnapshotIsRefused has a stream that is slow to refuse the only row of a snapshot: until
// then the snapshot is not complete, and after it neither.
func TestSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	o := ownerOf(t)
	if _, err := o.db.Exec(t.Context(), "INSERT INTO organizations (id, name) VALUES ('o', 'acme')"); err != nil {
		t.Fatal(err)
	}
	if err := o.takeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.stopPublisher()
	slow := runtimetest.NATS(t) // where a stream is played
	published := make(chan *nats.Msg, 1)
	if _, err := slow.ChanSubscribe("organizations.>", published); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.pub, err = runtime.NewPublisher(slow, window, time.Hour); err != nil {
		t.Fatal(err)
	}
	defer func() {
		o.pub.Abort()
		o.pub.Close()
	}()
	done := make(chan error, 1)
	go func() { done <- o.prepare(t.Context()) }()
	select {
	case err := <-done:
		t.Fatalf("nothing was published: %v", err)
	case m := <-published:
		select {
		case err := <-done:
			t.Fatalf("it is done, and nothing is stored: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
		if err := m.Respond([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err == nil {
		t.Error("what was refused counts as published")
	}
	if st, err := o.keeper.load(t.Context()); err != nil || st.Complete {
		t.Errorf("the state is %+v, %v", st, err)
	}
	o.close()
	if _, err := o.db.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", o.Slot); err != nil {
		t.Error(err)
	}
}

// ownerOf is about to work on a slot of tables that are empty.
func ownerOf(t *testing.T) *owner {
	t.Helper()
	dsn := runtimetest.Postgres(t)
	m, err := migrations.Postgres(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // what matters is committed
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, conf := config.Default[streams.Config](), config.Default[Config]()
	conf.Slot = "slot_" + xid.New().String()
	c := &capture{Config: conf, db: db, nc: nc, js: js, entities: entities(s), keeper: keeper{js, s.CaptureState(), conf.Slot}}
	session, err := connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.close)
	return &owner{capture: c, session: session, tables: map[uint32]*entity{}}
}

// TestLastEventIsDeleted has somebody delete the last event of a stream: the one before tells
// where it is, and what comes next fits.
func TestLastEventIsDeleted(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	o := &outlet{Stream: config.Default[streams.Config]().OrganizationEvents(), js: js, epoch: "g.1", log: timelines{current: "1"}}
	if err := streams.Ensure(t.Context(), js, o.Stream); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), o.Name)
	if err != nil {
		t.Fatal(err)
	}
	first := position{5, 1}
	for _, at := range []position{first, {6, 1}} {
		m := o.fill(event{at: at, token: streams.Created, operation: streams.Insert}, at.id(o.epoch))
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		o.last++
	}
	if err := s.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := o.open(t.Context()); err != nil || o.last != 2 || o.stored != first || o.unsure || o.found != first.id(o.epoch) {
		t.Errorf("%v: last is %d, stored %v, found %q, unsure %v", err, o.last, o.stored, o.found, o.unsure)
	}
}
