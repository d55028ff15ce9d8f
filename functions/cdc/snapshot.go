package cdc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

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
	if err := o.check(ctx); err != nil {
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
	o.flush()
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

// check finds out whether every row can become an event before the first one does: what stops a
// snapshot stops the next one, too, and each would publish all that comes before it once more.
func (o *owner) check(ctx context.Context) error {
	for _, e := range o.entities {
		if err := o.eachRow(ctx, e, func([]byte) {}); err != nil {
			return err
		}
	}
	return nil
}

// copyTable publishes every row of a table, and then that these are all, where there
// were events before: rows that were deleted while nobody read the slot have none.
func (o *owner) copyTable(ctx context.Context, e *entity, t *transaction, start pglogrepl.LSN, n *uint64) error {
	first := o.outlets[e].last + 1
	ev := event{lsn: start.String(), committed: t.committed.UTC().Format(time.RFC3339Nano), operation: streams.Snapshot, token: streams.Created}
	emit := func(payload []byte) {
		*n++
		ev.at, ev.payload = position{0, *n}, payload
		o.publish(ctx, e, t, ev)
	}
	if err := o.eachRow(ctx, e, emit); err != nil {
		return err
	}
	if first > 1 {
		ev.operation, ev.token, ev.since = streams.Complete, streams.Updated, first
		emit(nil)
	}
	return nil
}

// eachRow calls f with the payload of each row of a table.
func (o *owner) eachRow(ctx context.Context, e *entity, f func(payload []byte)) error {
	var names []string
	for _, c := range e.columns {
		names = append(names, identifier(c.name))
	}
	if _, err := o.wait(ctx, "DECLARE rows BINARY NO SCROLL CURSOR FOR SELECT "+strings.Join(names, ", ")+" FROM "+identifier(e.table)); err != nil {
		return fmt.Errorf("snapshot of %s: %w", e.table, err)
	}
	for {
		results, err := o.conn.Exec(ctx, fmt.Sprintf("FETCH %d FROM rows", fetchRows)).ReadAll()
		if err != nil {
			return fmt.Errorf("snapshot of %s: %w", e.table, err)
		}
		if len(results[0].Rows) == 0 {
			_, err := o.rows(ctx, "CLOSE rows")
			return err
		}
		if err := encodeRows(e, results[0], f); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// encodeRows calls f with the payload of each row that was fetched.
func encodeRows(e *entity, r *pgconn.Result, f func(payload []byte)) error {
	var columns []column
	for _, d := range r.FieldDescriptions {
		columns = append(columns, column{d.Name, d.DataTypeOID})
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
		payload, err := rel.encode(rel.new)
		if err != nil {
			return err
		}
		f(payload)
	}
	return nil
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

// because is err, or what ended ctx in its place, if something did.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
