package cdc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"ponix/nats/streams"
)

// fetchRows is how many rows of a snapshot are in memory at a time.
const fetchRows = 500

// snapshot makes the slot and publishes the rows that there are where it begins.
// Nothing is between these rows and the first change that the slot has. Whoever
// is killed on the way leaves a state that is not complete, and the next owner
// begins again. lost is what became of the slot before, if there was one.
func (o *owner) snapshot(ctx context.Context, lost error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.failed = cancel
	began := time.Now()
	if _, err := o.rows(ctx, "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return err
	}
	making, made := context.WithCancel(ctx)
	go o.waits(making, lost)
	start, err := o.create(ctx, o.Slot)
	made()
	if err != nil {
		return err
	}
	t := o.progress.begin(began)
	n := uint64(0)
	for _, e := range o.entities {
		if err := o.copyTable(ctx, e, t, start, &n); err != nil {
			return because(ctx, err)
		}
	}
	if _, err := o.rows(ctx, "COMMIT"); err != nil {
		return err
	}
	o.progress.commit(t, start)
	if err := o.settled(ctx, t); err != nil {
		return err
	}
	o.state.Complete, o.state.Confirmed = true, start
	o.tell()
	if err := o.keeper.save(ctx, o.state); err != nil {
		return err
	}
	o.instance.Logger().Info("the snapshot is published", "events", n, "lsn", start.String(), "took", time.Since(began))
	return nil
}

// slotPatience is how often is told what the making of a slot waits for: PostgreSQL lets
// every transaction end first that has written something.
const slotPatience = 3 * time.Second

// blockersSQL names who a process waits for; 0 is a prepared transaction.
const blockersSQL = `
SELECT coalesce(string_agg(CASE pid WHEN 0 THEN 'a prepared transaction (pg_prepared_xacts)' ELSE 'process ' || pid END, ', '), '')
FROM unnest(pg_blocking_pids($1)) AS pid`

// waits tells that until the slot is made, and what was lost with the one before, which
// stays the last error.
func (o *owner) waits(making context.Context, lost error) {
	tick := time.NewTicker(slotPatience)
	defer tick.Stop()
	for told := ""; ; {
		select {
		case <-making.Done():
			return
		case <-tick.C:
		}
		var blockers string
		if err := o.db.QueryRow(making, blockersSQL, o.conn.PID()).Scan(&blockers); err != nil || blockers == "" || blockers == told {
			continue // the making goes on, or has the error itself
		}
		told = blockers
		err := fmt.Errorf("slot %s is made when a transaction has ended that began before, in any database of this PostgreSQL: that of %s", o.Slot, blockers)
		o.instance.Logger().Warn("making the slot", "error", err)
		if lost != nil {
			err = fmt.Errorf("%w; %w", lost, err)
		}
		o.keeper.fail(making, o.instance.ID(), err)
	}
}

// copyTable publishes every row of a table, and then that these are all, where there
// were events before: rows that were deleted while nobody read the slot have none.
func (o *owner) copyTable(ctx context.Context, e *entity, t *transaction, start pglogrepl.LSN, n *uint64) error {
	var names []string
	for _, c := range e.columns {
		names = append(names, identifier(c.name))
	}
	if _, err := o.wait(ctx, "DECLARE rows BINARY NO SCROLL CURSOR FOR SELECT "+strings.Join(names, ", ")+" FROM "+identifier(e.table)); err != nil {
		return fmt.Errorf("snapshot of %s: %w", e.table, err)
	}
	first := o.outlets[e].last + 1
	ev := event{lsn: start.String(), committed: t.committed.UTC().Format(time.RFC3339Nano), operation: streams.Snapshot, token: streams.Created}
	for {
		results, err := o.conn.Exec(ctx, fmt.Sprintf("FETCH %d FROM rows", fetchRows)).ReadAll()
		if err != nil {
			return fmt.Errorf("snapshot of %s: %w", e.table, err)
		}
		r := results[0]
		if len(r.Rows) == 0 {
			if first > 1 {
				*n++
				ev.at, ev.operation, ev.token, ev.payload, ev.since = position{0, *n}, streams.Complete, streams.Updated, nil, first
				o.publish(ctx, e, t, ev)
			}
			_, err := o.rows(ctx, "CLOSE rows")
			return err
		}
		var columns []column
		for _, f := range r.FieldDescriptions {
			columns = append(columns, column{f.Name, f.DataTypeOID})
		}
		rel, err := relate(e, columns)
		if err != nil {
			return err
		}
		for _, row := range r.Rows {
			rel.new = rel.new[:0]
			for _, v := range row {
				rel.new = append(rel.new, datum{data: v})
			}
			if ev.payload, err = rel.encode(rel.new); err != nil {
				return err
			}
			*n++
			ev.at = position{0, *n}
			o.publish(ctx, e, t, ev)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// settled waits until every event of t is on its stream.
func (o *owner) settled(ctx context.Context, t *transaction) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for t.missing.Load() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// because is the error that ended ctx, if one did, and else err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
