package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"ponix/functions"
	"ponix/migrations"
)

// limitSlot is the limit loop's own replication slot: it reads the same log.
const limitSlot = "ponix_bench_limit"

// mixed makes %d changes, six insertions, three updates and a deletion in turn. The
// second %s tells apart the rounds; the third follows each change.
const mixed = `DO $$ BEGIN FOR i IN 0..%[1]d - 1 LOOP
	IF i %% 10 < 6 THEN INSERT INTO organizations (id, name) VALUES ('%[2]s-' || i, 'a name of an organization');
	ELSIF i %% 10 < 9 THEN UPDATE organizations SET name = 'another name ' || i, updated_at = now() WHERE id = '%[2]s-' || (i - 4);
	ELSE DELETE FROM organizations WHERE id = '%[2]s-' || (i - 4); END IF;
	%[3]s END LOOP; END $$`

// capture is a table that is changed, and two that read the changes.
type capture struct {
	*World
	db     *pgxpool.Pool
	inOne  bool // transaction; otherwise each change is one
	total  int
	rounds int
	unread map[string]bool // competitors for whom changes lie ready
}

// CDC compares change data capture with a loop that only decodes and encodes: n
// changes a round, in transactions of one row or in a single one.
func CDC(ctx context.Context, w *World, n int, inOne bool) (Suite, error) {
	c, err := newCapture(ctx, w)
	if err != nil {
		return Suite{}, err
	}
	c.total = n
	s := Suite{
		Name: "cdc, single rows", About: "changes in PostgreSQL → events, from a log that is written already; single-row transactions, mixed",
		Metrics: []Metric{Rate, CPU},
		Cases:   []Case{{"decode and encode", c.decode}, {"ponix", c.capture}},
		Goals:   []Goal{{Of: "ponix", Base: "decode and encode", Metric: Rate, Bound: 0.7}},
	}
	if inOne {
		c.inOne, s.Name, s.Goals[0].Bound = true, "cdc, one transaction", 0.6
		s.About = fmt.Sprintf("changes in PostgreSQL → events, from a log that is written already; one transaction of %d rows, mixed", n)
	}
	return s, c.exec(ctx, "SELECT pg_create_logical_replication_slot('"+limitSlot+"', 'pgoutput')")
}

// newCapture makes the tables and the product's slot.
func newCapture(ctx context.Context, w *World) (*capture, error) {
	c := &capture{World: w, unread: map[string]bool{}}
	m, err := migrations.Postgres(w.PostgresURL(""))
	if err != nil {
		return nil, err
	}
	_, err = m.Up(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return nil, err
	}
	if c.db, err = pgxpool.New(ctx, w.PostgresURL("")); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() error { c.db.Close(); return nil })
	h, err := c.reading(ctx)
	if err != nil {
		return nil, err
	}
	return c, h.Close()
}

// exec runs statements, one by one, on one connection.
func (c *capture) exec(ctx context.Context, statements ...string) error {
	conn, err := c.db.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for _, sql := range statements {
		if _, err := conn.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%.60s: %w", sql, err)
		}
	}
	return nil
}

// until waits for a condition in SQL.
func (c *capture) until(ctx context.Context, condition string) error {
	for deadline := time.Now().Add(stalled); ; time.Sleep(20 * time.Millisecond) {
		var is bool
		if err := c.db.QueryRow(ctx, condition).Scan(&is); err != nil || is {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s", stalled, condition)
		}
	}
}

// prepare writes changes, unless those that the other competitor has read are still
// to be read by this one.
func (c *capture) prepare(ctx context.Context, competitor string) error {
	defer delete(c.unread, competitor)
	if c.unread[competitor] {
		return nil
	}
	c.rounds++
	c.unread["limit"], c.unread["ponix"] = true, true
	end := "COMMIT;"
	if c.inOne {
		end = ""
	}
	return c.exec(ctx, "SET synchronous_commit = off",
		fmt.Sprintf(mixed, c.total, fmt.Sprintf("bench-%d", c.rounds), end),
		"RESET synchronous_commit", "CHECKPOINT")
}

// capture is the product.
func (c *capture) capture(ctx context.Context, r *Round) error {
	if err := c.prepare(ctx, "ponix"); err != nil {
		return err
	}
	before, err := c.events(ctx)
	if err != nil {
		return err
	}
	h, err := c.host(ctx, functions.Deps{Postgres: c.db}, "cdc")
	if err != nil {
		return err
	}
	err = measure(ctx, r, c.total, func(ctx context.Context) (int, error) {
		n, err := c.events(ctx)
		return n - before, err
	})
	return errors.Join(err, h.Close())
}

// events counts what has ever been on the stream.
func (c *capture) events(ctx context.Context) (int, error) {
	return c.lastOf(ctx, c.config.Streams.OrganizationEvents())
}
