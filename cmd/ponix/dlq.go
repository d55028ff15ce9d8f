package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/deadletter"
)

type dlqCommand struct {
	List   dlqList   `cmd:"" default:"withargs" help:"List dead letters, oldest first."`
	Show   dlqShow   `cmd:"" help:"Show one dead letter with its payload and headers."`
	Replay dlqReplay `cmd:"" help:"Put messages back where they came from, with their old ids. Mend the cause first."`
	Drop   dlqDrop   `cmd:"" help:"Remove dead letters for good."`
}

// dlqQueue is where the queue is.
type dlqQueue struct {
	config.NATS
	streams.Config
}

// with opens the queue for f.
func (c *dlqQueue) with(e *env, f func(*env, *deadletter.Queue) error) error {
	return e.onNATS(c.NATS, "ponix dlq", func(e *env, nc *nats.Conn) error {
		js, err := c.JetStream(nc)
		if err != nil {
			return err
		}
		q, err := deadletter.Open(e.ctx, js, c.DeadLetters().Name)
		if err != nil {
			return err
		}
		return f(e, q)
	})
}

// dlqFilter selects letters.
type dlqFilter struct {
	Function string `env:"-" help:"Only those of this function."`
	Reason   string `env:"-" help:"Only those with this reason."`
}

func (f dlqFilter) filter() deadletter.Filter {
	return deadletter.Filter{Function: f.Function, Reason: strings.ToUpper(f.Reason)}
}

type dlqList struct {
	dlqQueue
	dlqFilter
	format
	Limit int `default:"100" help:"How many are listed at most; 0: all."`
}

func (c *dlqList) Run(e *env) error {
	return c.with(e, func(e *env, q *deadletter.Queue) error {
		var rows [][]string
		total := 0
		err := q.Each(e.ctx, c.filter(), func(l deadletter.Letter) error {
			total++
			if c.Limit > 0 && total > c.Limit {
				return nil
			}
			if c.Format == "json" {
				l.Header = nil
				return e.out.json(l)
			}
			rows = append(rows, letterRow(l))
			return nil
		})
		if err != nil {
			return err
		}
		if c.Format == "json" {
			if more := total - c.Limit; c.Limit > 0 && more > 0 {
				e.log.Warn("there are more dead letters: --limit 0 shows all", "more", more)
			}
			return nil
		}
		if len(rows) == 0 {
			fmt.Fprintln(e.out, "no dead letters")
			return nil
		}
		e.out.table([]string{"NUMBER", "DIED", "FUNCTION", "REASON", "SUBJECT", "DELIVERIES", "ERROR"}, rows)
		if total > len(rows) {
			fmt.Fprintf(e.out, "%d more: --limit 0 shows all\n", total-len(rows))
		}
		return nil
	})
}

func letterRow(l deadletter.Letter) []string {
	return []string{strconv.FormatUint(l.Number, 10), l.Died.UTC().Format(time.DateTime), l.Function, l.Reason, l.Subject, strconv.Itoa(l.Deliveries), l.Error}
}

type dlqShow struct {
	dlqQueue
	format
	Number uint64 `arg:"" help:"Its number in the list."`
}

func (c *dlqShow) Run(e *env) error {
	return c.with(e, func(e *env, q *deadletter.Queue) error {
		l, err := q.Get(e.ctx, c.Number)
		if err != nil {
			return err
		}
		if c.Format == "json" {
			return e.out.json(l)
		}
		kv := []string{
			"number", strconv.FormatUint(l.Number, 10), "died", l.Died.UTC().Format(time.RFC3339Nano),
			"function", l.Function, "reason", l.Reason, "error", l.Error, "envelope id", l.ID,
			"stored", l.Stored.Format(time.RFC3339Nano), "stream", l.Stream, "subject", l.Subject,
			"sequence", strconv.FormatUint(l.Sequence, 10), "deliveries", strconv.Itoa(l.Deliveries), "trace id", l.TraceID,
		}
		for _, k := range slices.Sorted(maps.Keys(l.Header)) {
			kv = append(kv, "header "+k, strings.Join(l.Header[k], ", "))
		}
		e.out.pairs(kv...)
		fmt.Fprintf(e.out, "\n%d bytes:\n%s", len(l.Payload), hex.Dump(l.Payload))
		return nil
	})
}

// dlqSome selects letters by number, by filter, or all of them.
type dlqSome struct {
	dlqQueue
	dlqFilter
	Numbers []uint64 `arg:"" optional:"" help:"Their numbers in the list."`
	All     bool     `env:"-" help:"All of them."`
}

// each calls f for each selected letter and tells how many there were.
func (c *dlqSome) each(e *env, did string, f func(context.Context, *deadletter.Queue, deadletter.Letter) error) error {
	filtered := c.All || c.dlqFilter != (dlqFilter{})
	if filtered == (len(c.Numbers) > 0) {
		return &usageError{errors.New("name the letters by their numbers, or choose by --function, --reason or --all")}
	}
	return c.with(e, func(e *env, q *deadletter.Queue) error {
		numbers := slices.Compact(slices.Sorted(slices.Values(c.Numbers)))
		if filtered {
			if err := q.Each(e.ctx, c.filter(), func(l deadletter.Letter) error { numbers = append(numbers, l.Number); return nil }); err != nil {
				return err
			}
		}
		done, left := 0, 0
		var first error // of those that are left
		for _, n := range numbers {
			l, err := q.Get(e.ctx, n)
			if err == nil {
				err = f(e.ctx, q, l)
			}
			switch {
			case err == nil:
				done++
			case filtered && errors.Is(err, deadletter.ErrNotFound): // somebody else was faster
			case filtered && errors.Is(err, deadletter.ErrIncomplete): // the others need not wait until it is dropped
				left++
				first = cmp.Or(first, err)
			default:
				return fmt.Errorf("dead letter %d (%d were %s before it): %w", n, done, did, err)
			}
		}
		fmt.Fprintf(e.out, "%d %s\n", done, did)
		if left > 0 {
			return fmt.Errorf("%d left, the first: %w", left, first)
		}
		return nil
	})
}

type dlqReplay struct{ dlqSome }

func (c *dlqReplay) Run(e *env) error {
	return c.each(e, "replayed", func(ctx context.Context, q *deadletter.Queue, l deadletter.Letter) error { return q.Replay(ctx, l) })
}

type dlqDrop struct{ dlqSome }

func (c *dlqDrop) Run(e *env) error {
	return c.each(e, "dropped", func(ctx context.Context, q *deadletter.Queue, l deadletter.Letter) error { return q.Drop(ctx, l) })
}
