package cdc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/rs/xid"

	"ponix/functions/internal/postgres"
	"ponix/runtime"
)

// run waits until this instance is the owner, and is it until something fails or
// ctx is done.
func (c *capture) run(ctx context.Context) error {
	began := time.Now()
	progressed, err := c.own(ctx)
	if ctx.Err() != nil {
		return nil // shutting down
	}
	if progressed || time.Since(began) > time.Minute {
		c.failures = 0
	}
	delay := c.delay(c.failures)
	c.failures++
	c.keeper.fail(context.WithoutCancel(ctx), runtime.InstanceOf(ctx).ID(), err)
	err = postgres.Error(err)
	if c.failures > c.MaxAttempts { // no longer one of those that pass by themselves
		err = fmt.Errorf("%d attempts have failed, the next follows in %v: %s", c.failures, delay, err.Error())
	}
	return runtime.RetryAfter(delay, err)
}

// standbyEvery is how often a standby looks whether there is an owner.
const standbyEvery = 500 * time.Millisecond

// become returns a session that has the lock. A standby looks at the lock from an
// ordinary connection: PostgreSQL allows few for replication, and a session that
// waits in a lock would keep it from cleaning up behind it.
func (c *capture) become(ctx context.Context) (*session, error) {
	tick := time.NewTicker(standbyEvery)
	defer tick.Stop()
	for {
		if s, err := c.tryLock(ctx); s != nil || err != nil {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// tryLock returns a session that has the lock, nil where another has it.
func (c *capture) tryLock(ctx context.Context) (s *session, err error) {
	ctx, cancel := unlessSilent(ctx)
	defer cancel()
	defer func() { err = because(ctx, err) }()
	var taken bool
	if err := c.db.QueryRow(ctx, "SELECT "+holderSQL(c.Slot)+" IS NOT NULL").Scan(&taken); taken || err != nil {
		return nil, err
	}
	s, err = connect(ctx, c.db)
	if err != nil {
		return nil, err
	}
	if ours, err := s.lock(ctx, c.Slot); !ours || err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// own does all that one owner does. progressed tells whether that moved anything.
func (c *capture) own(ctx context.Context) (progressed bool, err error) {
	s, err := c.become(ctx)
	if err != nil {
		return false, err
	}
	defer s.close()
	o := &owner{capture: c, session: s, instance: runtime.InstanceOf(ctx), tables: map[uint32]*entity{}}
	o.instance.Gauge("owner", 1)
	defer o.instance.ClearGauges()
	if err := o.takeOver(ctx); err != nil {
		return false, err
	}
	defer o.stopPublisher()
	if err := o.prepare(ctx); err != nil {
		return false, err
	}
	o.warnOfUnread(ctx)
	if err := s.start(ctx, c.Slot, c.Publication, o.state.Confirmed); err != nil {
		return false, err
	}
	at := o.state.Confirmed
	o.instance.Logger().Info("reading the slot", "slot", c.Slot, "confirmed", at.String())
	err = o.tail(ctx)
	if errors.Is(err, errPartly) { // a fresh snapshot has what the log lacks
		o.state.Complete = false
		err = errors.Join(err, o.keeper.save(ctx, o.state))
	}
	return o.state.Events > 0 || o.state.Confirmed > at, err
}

// owner is the one instance that works on the slot.
type owner struct {
	*capture
	*session
	instance runtime.Instance
	state    *state
	system   string
	log      timelines
	end      pglogrepl.LSN // of the log, when it took over
	outlets  map[*entity]*outlet
	pub      *runtime.Publisher
	open     *entity            // whose outlet may have events that are not sent yet
	tables   map[uint32]*entity // by their ids, which they keep when they are renamed
	progress progress
	failed   context.CancelCauseFunc // by an event that could not be published

	stopPublisher func() // waits for what is on its way

	sent uint64 // events that were counted
	held int    // how often in a row the session was seen to wait for standbys
}

// window is how many events may wait for their acknowledgement, and ackTimeout is
// how long.
const (
	window     = 1024
	ackTimeout = 5 * time.Second
)

var errStandby = errors.New("this PostgreSQL is a standby: the slot is at the primary, which PONIX_POSTGRES_HOST must name")

// takeOver learns where PostgreSQL and the last owner are. A standby has locks of its own:
// who worked on the slot there would take the state from the owner at the primary.
func (o *owner) takeOver(ctx context.Context) (err error) {
	if standby, err := o.truth(ctx, "SELECT pg_is_in_recovery()"); err != nil || standby {
		return cmp.Or(err, errStandby)
	}
	var timeline string
	if o.system, timeline, o.end, err = o.identify(ctx); err != nil {
		return err
	}
	if o.log, err = o.timelines(ctx, timeline); err != nil {
		return err
	}
	if o.state, err = o.keeper.load(ctx); err != nil {
		return err
	}
	o.pub, err = runtime.NewPublisher(o.nc, window, ackTimeout)
	o.stopPublisher = sync.OnceFunc(func() { o.pub.Close() })
	return err
}

// prepare leaves a slot that has every change since what was published last.
func (o *owner) prepare(ctx context.Context) error {
	published, missed, err := o.publication(ctx)
	if err != nil {
		return err
	}
	slot, err := o.slot(ctx, o.Slot)
	if err != nil {
		return err
	}
	if slot.exists && !slot.ours {
		return fmt.Errorf("slot %s is not one of pgoutput in this database: name another with PONIX_CDC_SLOT_NAME", o.Slot)
	}
	fresh := !slot.exists && o.state.revision == 0
	gap := slot.gap(o.state, o.system, o.log, o.end)
	switch {
	case missed != "":
		gap = missed
	case gap == "" && o.state.Published != "" && o.state.Published != published:
		gap = "the publication " + o.Publication + " was altered"
	}
	if gap == "" {
		o.state.Published = published
		if err := o.claim(ctx); err != nil {
			return err
		}
		if gap = o.ahead(); gap == "" {
			o.share(ctx, slot)
			return nil
		}
	}
	lost := o.report(ctx, gap, fresh)
	o.state = &state{Generation: xid.New().String(), System: o.system, Published: published, revision: o.state.revision}
	if err := o.claim(ctx); err != nil {
		return err
	}
	if slot.exists {
		if err := o.drop(ctx, o.Slot); err != nil {
			return err
		}
	}
	return o.snapshot(ctx, lost)
}

// report tells of a slot that has to be made again, and returns what it tells: nil where
// there was none before.
func (o *owner) report(ctx context.Context, gap string, fresh bool) error {
	log := o.instance.Logger().With("slot", o.Slot)
	if fresh {
		log.Info("making the slot, with a snapshot")
		return nil
	}
	err := fmt.Errorf("slot %s cannot be read on: %s; it is made again, with a fresh snapshot", o.Slot, gap)
	log.Error("the slot was lost", "error", err)
	o.keeper.fail(ctx, o.instance.ID(), err)
	return err
}

// claim writes the state as that of this owner, and opens the streams. From now
// on an owner that lost the lock and does not know it can write neither.
func (o *owner) claim(ctx context.Context) error {
	o.state.Owner, o.state.PID, o.state.Timeline = o.instance.ID(), o.conn.PID(), o.log.current
	o.state.Events = 0 // what waits is still waiting
	if err := o.keeper.save(ctx, o.state); err != nil {
		return err
	}
	o.progress.safe = o.state.Confirmed
	o.outlets = map[*entity]*outlet{}
	for _, e := range o.entities {
		// Of those that the last owner may have failed with, each has an answer that says why.
		out := &outlet{Stream: e.stream, js: o.js, publisher: o.pub, epoch: o.state.Generation + "." + o.log.current, log: o.log, alone: window}
		out.done = func(c chain, err error) { o.answered(e, c, err) }
		if err := out.open(ctx); err != nil {
			return err
		}
		o.outlets[e] = out
	}
	return nil
}

// ahead is why PostgreSQL may not have what is on the streams; empty where it has. An
// owner that was killed may have published events that the state does not tell of yet.
func (o *owner) ahead() string {
	for _, e := range o.entities {
		timeline, at, ours := parseAny(o.outlets[e].found, o.state.Generation)
		if !ours {
			continue
		}
		lsn, shared := pglogrepl.LSN(at.lsn), max(o.log.until(timeline), o.state.Confirmed)
		switch {
		case lsn >= o.end:
			return fmt.Sprintf("PostgreSQL's log ends at %s, and stream %s has an event of %s: it was put back to an earlier state", o.end, o.outlets[e].Name, lsn)
		case lsn >= shared:
			return fmt.Sprintf("stream %s has an event of %s on another timeline, and only what came before %s is known to be on this one: PostgreSQL may have lost the end of its log", o.outlets[e].Name, lsn, shared)
		}
	}
	return ""
}

// publish has an event of t sent, unless its stream has it already: when flush is called
// at the latest. A failure ends the tail.
func (o *owner) publish(ctx context.Context, e *entity, t *transaction, ev event) {
	out := o.outlets[e]
	if out.has(ev.at) {
		return
	}
	if o.open != e {
		o.flush() // one event after the other, also those of other tables
		o.open = e
	}
	t.missing.Add(1)
	o.progress.sent.Add(1)
	out.publish(ctx, ev, t)
}

// flush sends what is to be sent.
func (o *owner) flush() {
	if e := o.open; e != nil {
		o.outlets[e].flush()
	}
}

// answered handles the answer to a chain of e's events.
func (o *owner) answered(e *entity, c chain, err error) {
	if err == nil {
		o.progress.acknowledged(c.transactions)
		return
	}
	what := "publish"
	if n := len(c.transactions); n > 1 {
		what = fmt.Sprintf("publish %d events, each after the one before, up to", n)
	}
	o.failed(fmt.Errorf("%s %s, %s of %s: stream %s: %w", what, c.last.lsn, c.last.operation, e.table, e.stream.Name, err))
}
