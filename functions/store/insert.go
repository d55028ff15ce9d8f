package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/xid"
	"google.golang.org/grpc/codes"

	"ponix/runtime"
)

const insertSQL = `INSERT INTO processed_envelopes (organization_id, end_device_id, occurred_at, processed_at, envelope_id, data)`

// insertSplitting inserts rows and notes each one's fate. Where ClickHouse
// refuses a block for what is in it, the block is halved until the bad row is
// alone: that row becomes a dead letter. Where ClickHouse is away, full or busy,
// the rows are to come again. One that has too little memory for a block gets it in parts,
// and no more of them once there was none for a single row.
func (f store) insertSplitting(ctx context.Context, rows []row, fates runtime.BatchError) {
	if len(rows) == 0 {
		return
	}
	err := f.insertPatiently(ctx, rows)
	switch {
	case err == nil:
	case !neverWhole(err, rows):
		if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*away)) { // which in the log would be a caller's
			err = &away{err}
		}
		for _, r := range rows {
			fates[r.index] = err
		}
	case len(rows) == 1:
		fates[rows[0].index] = runtime.Terminate(runtime.Error(codes.InvalidArgument, "ROW_REFUSED", "ClickHouse refused the row: %s", exceptionText(err)))
	default:
		half := len(rows) / 2
		f.insertSplitting(ctx, rows[:half], fates)
		if err := fates[rows[0].index]; noMemory(err) {
			for _, r := range rows[half:] {
				fates[r.index] = err
			}
			return
		}
		f.insertSplitting(ctx, rows[half:], fates)
	}
}

// insertPatiently tries a block again while ClickHouse is away, so that a
// restart of ClickHouse costs no redelivery. What is alone, since it may never get in, is
// not waited for, nor is memory for what can be halved, nor what no restart mends: the log is
// to have that at once.
func (f store) insertPatiently(ctx context.Context, rows []row) error {
	deadline, ok := ctx.Deadline()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := f.insert(ctx, rows)
		if err == nil || neverWhole(err, rows) || misconfigured(err) || !ok || rows[0].work > maxWork || time.Until(deadline) < 2*wait+5*time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// insert writes rows, which are in order, as one block: all of them or none.
//
// Each attempt has a deduplication token of its own. ClickHouse notes a token before the
// block is in its place: a block that failed after that would be taken for stored when it
// comes again, and be nowhere. One that is stored twice is one row.
func (f store) insert(ctx context.Context, rows []row) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": xid.New().String(),
		// The answer comes when the block is committed, and it is no part of another one.
		"async_insert": 0,
		// A block may span any number of months: clocks of devices are wrong.
		"max_partitions_per_insert_block": 0,
		// A text that looks like a time stays the text that it is.
		"input_format_try_infer_dates": 0, "input_format_try_infer_datetimes": 0,
		// Numbers and booleans stay such beside texts in a list, also before ClickHouse 25.8.
		"input_format_json_read_bools_as_numbers": 0, "input_format_json_read_bools_as_strings": 0,
		"input_format_json_read_numbers_as_strings": 0,
	}))
	var b driver.Batch
	if err := f.connected(func() (err error) { b, err = f.db.PrepareBatch(ctx, insertSQL); return }); err != nil {
		return unavailable(ctx, err)
	}
	defer b.Close() //nolint:errcheck // after Send it is closed already
	columns := []any{
		valuesOf(rows, func(r *row) string { return r.organization }),
		valuesOf(rows, func(r *row) string { return r.device }),
		valuesOf(rows, func(r *row) time.Time { return r.occurred }),
		valuesOf(rows, func(r *row) time.Time { return r.processed }),
		valuesOf(rows, func(r *row) string { return r.id }),
	}
	for i, values := range columns {
		if err := b.Column(i).Append(values); err != nil {
			return err
		}
	}
	if err := appendDocuments(b.Columns()[len(columns)], rows); err != nil {
		return err
	}
	return unavailable(ctx, b.Send())
}

func valuesOf[T any](rows []row, value func(*row) T) []T {
	out := make([]T, len(rows))
	for i := range rows {
		out[i] = value(&rows[i])
	}
	return out
}

// refusals are the codes of ClickHouse that speak of the data of an insert and
// not of the server's state, from its src/Common/ErrorCodes.cpp.
var refusals = []int32{
	6, 26, 27, 33, 34, 38, 41, 53, 69, 70, 72, 117, 128, 131, 167, 321, 349, 432, 441, 467, 469, 636,
}

// codeOf is the code of ClickHouse's error, 0 of any other.
func codeOf(err error) int32 {
	var e *clickhouse.Exception
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// refused tells whether err is about the rows themselves.
func refused(err error) bool { return slices.Contains(refusals, codeOf(err)) }

// misconfigured tells whether ClickHouse does not let us in, or has no table: ACCESS_DENIED,
// AUTHENTICATION_FAILED, UNKNOWN_DATABASE and UNKNOWN_TABLE.
func misconfigured(err error) bool { return slices.Contains([]int32{497, 516, 81, 60}, codeOf(err)) }

// noMemory tells whether a limit of ClickHouse for memory (MEMORY_LIMIT_EXCEEDED), such as
// max_memory_usage of the user, was less than an insert takes.
func noMemory(err error) bool { return codeOf(err) == 241 }

// neverWhole tells whether a block will not get in as it is: for what is in it, or since a
// smaller one may have memory enough.
func neverWhole(err error, rows []row) bool { return refused(err) || noMemory(err) && len(rows) > 1 }

func exceptionText(err error) string {
	var e *clickhouse.Exception
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// unavailable gives what is not about the rows a code: the engine is away, busy
// or full, and the message is retried. The cause is logged. What ran out of time before
// ctx did, as a connection that is silent, is no caller's either.
func unavailable(ctx context.Context, err error) error {
	if err == nil || refused(err) || ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return err
	}
	return &away{err}
}
