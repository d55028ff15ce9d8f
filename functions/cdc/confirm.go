package cdc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// silentFor is the error of a PostgreSQL that does not answer, which counts as away.
func silentFor(d time.Duration) error {
	return fmt.Errorf("PostgreSQL is silent for %v: %w", d, os.ErrDeadlineExceeded)
}

// unlessSilent is ctx as long as PostgreSQL may take for an answer. A connection may be gone
// without a word, and the kernel tells of it a quarter of an hour later.
func unlessSilent(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, silence, silentFor(silence))
}

const (
	// confirmEvery is how often what is on the streams is confirmed.
	confirmEvery = 500 * time.Millisecond
	// idleEvery is the same while only other databases write.
	idleEvery = 5 * time.Second
	// answerEvery is how often PostgreSQL hears of us in any case.
	answerEvery = time.Second
	// askEvery is how often PostgreSQL is asked for an answer, and silence how long
	// it may give none.
	askEvery = 3 * time.Second
	silence  = 10 * time.Second
	// watchEvery is how often the publication and the lag are looked at.
	watchEvery = 5 * time.Second
	// heartbeatLag is how many bytes others write, while there are no changes of ours,
	// before a heartbeat gives the slot something to move to. A PostgreSQL where nobody
	// writes anything gets none.
	heartbeatLag = 16 << 10
)

// confirm tells PostgreSQL, while the reader reads, up to where everything is on
// the streams, and that we are alive.
func (o *owner) confirm(ctx context.Context, r *reader) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var confirmed, answered, asked time.Time
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case now = <-tick.C:
		}
		if quiet := now.Sub(r.began) - time.Duration(r.heard.Load()); quiet > silence {
			return silentFor(quiet.Round(time.Second))
		}
		every := idleEvery
		if o.progress.events.Load() != o.sent {
			every = confirmEvery
		}
		due := now.Sub(confirmed) >= every
		if due {
			confirmed = now
			if err := o.advance(ctx); err != nil {
				return err
			}
		}
		ask := now.Sub(asked) >= askEvery
		if r.asked.Swap(false) || due || ask || now.Sub(answered) >= answerEvery {
			if answered = now; ask {
				asked = now
			}
			if err := o.answer(ask); err != nil {
				return err
			}
		}
	}
}

// advance writes how far everything is on the streams, first to the state and
// then to PostgreSQL: a slot that is further than the state says was moved by
// somebody else.
func (o *owner) advance(ctx context.Context) error {
	lsn, waiting := o.progress.confirmable()
	moved := lsn > o.state.Confirmed || o.progress.events.Load() != o.sent
	if !moved && (waiting.IsZero() || waiting.Equal(o.state.Waiting)) {
		return nil // what waited before this owner has not come yet
	}
	o.state.Confirmed, o.state.Waiting = max(lsn, o.state.Confirmed), waiting
	o.tell()
	if err := o.keeper.save(ctx, o.state); err != nil {
		return err
	}
	return o.answer(false)
}

// tell brings the counters up to date.
func (o *owner) tell() {
	events := o.progress.events.Load()
	o.instance.Handled(int(events - o.sent))
	o.sent, o.state.Events = events, events
	if at := o.progress.lastEvent.Load(); at != 0 {
		o.state.LastEvent = time.Unix(0, at).UTC()
		o.instance.Gauge("last_event_timestamp_seconds", float64(at)/1e9)
	}
	o.instance.Gauge("confirmed_lsn", float64(o.state.Confirmed))
}

// answer tells PostgreSQL what the state says, and may want an answer itself.
func (o *owner) answer(ask bool) error {
	return pglogrepl.SendStandbyStatusUpdate(context.Background(), o.conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: o.state.Confirmed, ReplyRequested: ask})
}

// beatSQL returns where the log is. Where $2 is set and the log is more than $3
// bytes past $1, it writes a heartbeat and returns where that is. It tells, too, whether the
// session $4 waits for standbys.
const beatSQL = `
SELECT pg_current_wal_lsn()::text, CASE WHEN $2 AND pg_current_wal_lsn() - $1::text::pg_lsn > $3 THEN
    pg_logical_emit_message(false, 'ponix_cdc', '')::text END,
    coalesce((SELECT wait_event = 'WaitForStandbyConfirmation' FROM pg_stat_activity WHERE pid = $4), false)`

// watch looks after what the stream itself does not tell: the lag, and whether the
// publication is as it was and the state is still there. Where PostgreSQL or NATS does
// not answer it leaves the judgement to the stream.
func (o *owner) watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last, _ := o.progress.confirmable()
	for beat := last.String(); ; {
		published, err := o.look(ctx, &beat)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && published != o.state.Published {
			return fmt.Errorf("the publication %s was altered", o.Publication)
		}
		if kept, err := o.keeper.load(ctx); err == nil && kept.revision == 0 {
			return errors.New("the state of the slot is gone, as where NATS has lost its disk")
		}
		if err != nil && ctx.Err() == nil {
			o.instance.Logger().Warn("the lag and the publication were not looked at", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look measures the lag, and returns what the publication is now.
func (o *owner) look(ctx context.Context, beat *string) (published string, err error) {
	ctx, cancel := unlessSilent(ctx)
	defer cancel()
	if err = o.beat(ctx, beat); err == nil {
		err = o.db.QueryRow(ctx, publicationQuery(o.Publication, o.entities)).Scan(nil, nil, nil, &published)
	}
	return published, because(ctx, err)
}

// beat measures the lag, and writes a heartbeat where there are no changes of ours
// and others have written since the last.
func (o *owner) beat(ctx context.Context, last *string) error {
	confirmable, waiting := o.progress.confirmable()
	var server string
	var beat *string
	var waits bool
	if err := o.db.QueryRow(ctx, beatSQL, *last, waiting.IsZero(), heartbeatLag, o.conn.PID()).Scan(&server, &beat, &waits); err != nil {
		return err
	}
	o.heldBack(ctx, waits)
	if beat != nil {
		*last = *beat
	}
	lsn, err := pglogrepl.ParseLSN(server)
	if err != nil {
		return err
	}
	o.instance.Gauge("server_lsn", float64(lsn))
	o.instance.Gauge("lag_bytes", float64(lsn-min(confirmable, lsn)))
	o.instance.Gauge("lag_seconds", lagSeconds(waiting))
	return nil
}

// errHeldBack is of what nothing else tells: the stream is as one on which nothing happens.
var errHeldBack = errors.New("PostgreSQL sends no events before a standby that synchronized_standby_slots names has them, which may be away")

// heldBack tells of a session that waits for standbys when it is looked at, if it did so the time
// before, too.
func (o *owner) heldBack(ctx context.Context, waits bool) {
	if !waits {
		o.held = 0
		return
	}
	if o.held++; o.held == 2 {
		o.instance.Logger().Warn("events are held back", "error", errHeldBack)
		o.keeper.fail(ctx, o.instance.ID(), errHeldBack)
	}
}

func lagSeconds(waiting time.Time) float64 {
	if waiting.IsZero() {
		return 0
	}
	return max(0, time.Since(waiting).Seconds())
}
