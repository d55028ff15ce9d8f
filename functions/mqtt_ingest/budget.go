package mqttingest

import (
	"sync"
	"sync/atomic"
)

// maxHeld is how much of a gateway's messages may be in memory, in bytes, from
// the first byte read until JetStream has them: then nothing more is read, and
// TCP holds the broker back.
const maxHeld = 8 << 20

// maxHeldByAll is the same for all gateways of an instance, which have equal parts of it,
// but each at least one message: JetStream may refuse those of all at a time.
const maxHeldByAll = 32 << 20

// budget counts the bytes of messages in memory. The zero budget is ready.
type budget struct {
	sharing *atomic.Int64 // gateways that the instance runs; nil for one

	mu     sync.Mutex
	room   sync.Cond
	held   int
	sizes  []int // of those that were read but not handled, in order
	closed bool
}

// add waits until there is room for a message, or the end.
func (b *budget) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.room.L = &b.mu
	for b.held > b.most() && !b.closed {
		b.room.Wait()
	}
	b.held += n
	b.sizes = append(b.sizes, n)
}

func (b *budget) most() int {
	if b.sharing == nil {
		return maxHeld
	}
	return min(maxHeld, maxHeldByAll/int(max(b.sharing.Load(), 1)))
}

// take returns what the next message has cost, for give.
func (b *budget) take() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sizes) == 0 {
		return 0
	}
	n := b.sizes[0]
	if b.sizes = b.sizes[1:]; len(b.sizes) == 0 {
		b.sizes = nil
	}
	return n
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	b.room.Broadcast()
}

// close lets everybody through who waits.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}
