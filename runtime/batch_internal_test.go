package runtime

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestBatchWait cuts a batch as early as the last call took, but not earlier than three
// quarters of the wait.
func TestBatchWait(t *testing.T) {
	t.Parallel()
	const wait = 200 * time.Millisecond
	for took, want := range map[time.Duration]time.Duration{
		0:                     wait,
		30 * time.Millisecond: wait - 30*time.Millisecond,
		wait / 4:              wait * 3 / 4,
		time.Second:           wait * 3 / 4,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCollector(Batch{Size: 10, Wait: wait})
			emitted := make(chan []jetstream.Msg, 1)
			c.emit = func(batch []jetstream.Msg) { emitted <- batch }
			c.took.Store(int64(took))
			began := time.Now()
			for range 3 {
				c.add(delivered{})
				time.Sleep(time.Millisecond)
			}
			batch := <-emitted
			if got := time.Since(began); got != want || len(batch) != 3 {
				t.Errorf("a call that took %v: %d messages after %v, want 3 after %v", took, len(batch), got, want)
			}
			if c.bytes != 0 {
				t.Errorf("the next batch begins with %d bytes", c.bytes)
			}
		})
	}
}

// delivered is a message of which nobody wants anything but its payload.
type delivered struct{ jetstream.Msg }

func (delivered) Data() []byte { return []byte("payload") }
