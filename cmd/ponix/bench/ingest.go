package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions"
	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// ingest is a pipeline that ends in ClickHouse.
type ingest struct {
	*pipeline
	db    driver.Conn
	table string // the statement that makes it
	kept  *pipeline
}

// Ingest compares raw → rows, and its second half, with a loop that inserts the same
// rows from memory. n envelopes a round.
func Ingest(ctx context.Context, w *World, n int) (Suite, error) {
	i, err := newIngest(ctx, w, n)
	if err != nil {
		return Suite{}, err
	}
	rows, err := i.rows(ctx)
	if err != nil {
		return Suite{}, err
	}
	bare := func(insert func(context.Context, *block) error) func(context.Context, *Round) error {
		return func(ctx context.Context, r *Round) error { return i.bareInsert(ctx, r, rows, insert) }
	}
	return Suite{
		Name: "ingest", About: "raw → rows in ClickHouse with a JSON column, in blocks of 10 000, two at a time; and one envelope alone, processed → visible",
		Metrics: []Metric{Rate, CPU, Rows, P50},
		Cases: []Case{
			{"bare insert", bare(i.insertText)},
			{"bare insert, values", bare(i.insertValues)},
			{"ponix, processed → rows", i.store},
			{"ponix, raw → rows", i.whole},
			{"bare insert, one alone", i.bareAlone},
			{"ponix, one alone", i.alone},
		},
		// Raw → rows has no goal: conversion and storing share the processors that the
		// bare insert has for itself.
		Goals: []Goal{
			{Of: "ponix, processed → rows", Base: "bare insert", Metric: Rate, Bound: 0.6},
			{Of: "ponix, processed → rows", Metric: Rows, Bound: 1000},
			{Of: "ponix, one alone", Metric: P50, Bound: float64(visible.Microseconds()), AtMost: true},
			{Of: "ponix, one alone", Base: "bare insert, one alone", Metric: P50, Bound: float64(visible) / float64(delay), AtMost: true},
		},
	}, nil
}

// Rows is how many rows an insert had, in the mean.
const Rows Metric = "rows a block"

// newIngest makes the table, fills the raw stream, and once a stream of processed
// envelopes that stays.
func newIngest(ctx context.Context, w *World, n int) (*ingest, error) {
	db, err := w.clickHouse(ctx)
	if err != nil {
		return nil, err
	}
	i := &ingest{db: db}
	if err := i.db.QueryRow(ctx, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'processed_envelopes'").Scan(&i.table); err != nil {
		return nil, err
	}
	if i.pipeline, err = newPipeline(ctx, w, n); err != nil {
		return nil, err
	}
	kept := *w
	kept.config.Streams.Processed = "kept_envelopes"
	i.kept = &pipeline{&kept, n}
	return i, i.kept.run(ctx, newRound(), i.kept.convert)
}

// empty makes the table anew: a block that it had before is then no duplicate.
func (i *ingest) empty(ctx context.Context) error {
	return errors.Join(i.db.Exec(ctx, "DROP TABLE IF EXISTS processed_envelopes SYNC"), i.db.Exec(ctx, i.table))
}

// full fails unless every envelope is a row.
func (i *ingest) full(ctx context.Context) error {
	var n uint64
	if err := i.db.QueryRow(ctx, "SELECT count() FROM processed_envelopes FINAL").Scan(&n); err != nil {
		return err
	}
	if n != uint64(i.total) {
		return fmt.Errorf("%d rows of %d envelopes", n, i.total)
	}
	return nil
}

// store is the product's second half.
func (i *ingest) store(ctx context.Context, r *Round) error {
	s := i.kept.config.Streams.ProcessedEnvelopes()
	if err := streams.Ensure(ctx, i.js, s); err != nil {
		return err
	}
	if err := i.kept.rewind(ctx, s, streams.Store); err != nil {
		return err
	}
	return i.stored(ctx, r, i.kept, s, "store")
}

// whole is the product.
func (i *ingest) whole(ctx context.Context, r *Round) error {
	if err := i.reset(ctx); err != nil {
		return err
	}
	return i.stored(ctx, r, i.pipeline, i.config.Streams.ProcessedEnvelopes(), "convert", "store")
}

func (i *ingest) stored(ctx context.Context, r *Round, p *pipeline, s streams.Stream, functions ...string) error {
	if err := i.empty(ctx); err != nil {
		return err
	}
	h, err := i.hostOn(ctx, p, functions...)
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // all is settled
	if err := measure(ctx, r, i.total, i.settled(s, streams.Store)); err != nil {
		return err
	}
	if err := i.full(ctx); err != nil {
		return err
	}
	// Each insert has a number, and a part the first and the last of those that were merged
	// into it.
	var inserts int64
	if err := i.db.QueryRow(ctx, "SELECT max(max_block_number) - min(min_block_number) + 1 FROM system.parts WHERE active AND database = currentDatabase() AND table = 'processed_envelopes'").Scan(&inserts); err != nil {
		return err
	}
	r.Set(Rows, float64(i.total)/float64(inserts))
	return nil
}

// lone is how many envelopes a round sends one by one, and visible how long one may take
// until a query finds its row.
const (
	lone    = 8
	visible = delay + 10*time.Millisecond
)

// alone is the product with nothing to do but one envelope, again and again: from its
// publish until a query finds its row.
func (i *ingest) alone(ctx context.Context, r *Round) error {
	if err := i.reset(ctx); err != nil {
		return err
	}
	if err := i.empty(ctx); err != nil {
		return err
	}
	h, err := i.hostOn(ctx, i.pipeline, "store")
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // all is settled
	to := i.config.Streams.ProcessedEnvelopes()
	return i.oneByOne(ctx, r, func(id string) error {
		at := timestamppb.Now()
		payload, err := proto.Marshal(&envelopev1.ProcessedEnvelope{
			OrganizationId: "o", EndDeviceId: "d", EnvelopeId: id, OccurredAt: at, ProcessedAt: at, Data: &structpb.Struct{},
		})
		if err != nil {
			return err
		}
		_, err = i.js.Publish(ctx, to.Subject("o", "d"), payload)
		time.Sleep(delay) // it cannot be there before, and asking would keep ClickHouse busy
		return err
	})
}

// oneByOne measures how long it takes from the call of send until its row is visible.
func (i *ingest) oneByOne(ctx context.Context, r *Round, send func(id string) error) error {
	times := newHistogram()
	r.Start()
	for n := range uint64(lone) {
		sent := time.Now()
		if err := send(strconv.FormatUint(n, 10)); err != nil {
			return err
		}
		for rows := uint64(0); rows <= n; {
			if err := i.db.QueryRow(ctx, "SELECT count() FROM processed_envelopes").Scan(&rows); err != nil {
				return err
			}
			if time.Since(sent) > stalled {
				return fmt.Errorf("the row is not there after %v", stalled)
			}
		}
		record(times, time.Since(sent))
	}
	r.Stop(lone)
	r.percentiles(times)
	return nil
}

func (i *ingest) hostOn(ctx context.Context, p *pipeline, only ...string) (io.Closer, error) {
	return p.host(ctx, functions.Deps{ClickHouse: i.db}, only...)
}
