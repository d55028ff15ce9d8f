package store

import (
	"context"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"ponix/runtime"
)

// full is a ClickHouse that has no memory for any insert, and counts them.
type full struct {
	driver.Conn
	asked int
}

func (f *full) Stats() driver.Stats { return driver.Stats{} }

func (f *full) PrepareBatch(context.Context, string, ...driver.PrepareBatchOption) (driver.Batch, error) {
	f.asked++
	return nil, &clickhouse.Exception{Code: 241}
}

// TestNoMemoryAtAll holds that no row is a dead letter since ClickHouse has no memory for it, and
// that it is not asked for each of them.
func TestNoMemoryAtAll(t *testing.T) {
	t.Parallel()
	for rows, want := range map[int]int{1: 1, 2: 2, 1000: 10} {
		db, all, fates := &full{}, make([]row, rows), make(runtime.BatchError, rows)
		for i := range all {
			all[i] = row{index: i, text: `{}`}
		}
		store{db: db}.insertSplitting(t.Context(), all, fates)
		for i, err := range fates {
			if !noMemory(err) {
				t.Errorf("of %d rows, %d: %v", rows, i, err)
			}
		}
		if db.asked != want {
			t.Errorf("%d rows: it was asked %d times, want %d", rows, db.asked, want)
		}
	}
}
