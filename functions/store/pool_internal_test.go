package store

import (
	"context"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// TestReadAfterWrite holds that the end of a write's time does not close the connection that
// the write has given back, and with it the read that goes on there. Of an insert's time
// ClickHouse's client hears in a goroutine of its own, which on a busy machine begins late.
func TestReadAfterWrite(t *testing.T) {
	t.Parallel()
	db := migrated(t, func(o *clickhouse.Options) { o.MaxOpenConns = 1 })
	now := time.Now()
	rows := []row{{organization: "o", device: "d", id: "1", occurred: now, processed: now, text: `{}`}}
	for range 16 { // whether the connection was closed was up to chance
		ctx, cancel := context.WithCancel(t.Context())
		late := &lateContext{Context: ctx, asked: make(chan struct{}), told: make(chan struct{})}
		if err := (store{db: db}).insert(late, rows); err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			var n uint8
			read <- db.QueryRow(t.Context(), "SELECT sleep(0.05)").Scan(&n)
		}()
		for len(read) == 0 && db.Stats().Open == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		close(late.told)
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		select {
		case <-late.asked:
		default:
			t.Fatal("nobody waited for the insert's end: this tests nothing")
		}
	}
}

// lateContext lets the goroutine that waits for an insert's end begin only when told, or
// after a moment, since the insert may wait for it.
type lateContext struct {
	context.Context
	once        sync.Once
	asked, told chan struct{}
}

func (c *lateContext) Done() <-chan struct{} {
	if strings.Contains(string(debug.Stack()), "contextWatchdog") {
		c.once.Do(func() { close(c.asked) })
		select {
		case <-c.told:
		case <-time.After(20 * time.Millisecond):
		}
	}
	return c.Context.Done()
}
