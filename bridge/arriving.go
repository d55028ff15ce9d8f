package bridge

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/status"

	"ponix/runtime/wire"
)

// arriving bounds the messages that are read at a time: what has come of one is in memory,
// and the rest may never come. There is room for inHand bytes of them. Who is one too many
// waits until others of the same caller are there, of which an eighth may arrive beyond
// that: nobody waits for somebody else's.
type arriving struct {
	most, each int64
	calls      atomic.Int64
	arrived    func() // for the most; made once

	mu     sync.Mutex
	queues map[string]*queue // by caller; of those that are too many
}

type queue struct {
	turns *semaphore.Weighted
	calls int
}

func newArriving(inHand int64, maxMessage int) *arriving {
	a := &arriving{most: max(8, inHand/int64(maxMessage)), queues: map[string]*queue{}}
	a.each = a.most / 8
	a.arrived = func() { a.calls.Add(-1) }
	return a
}

// enter waits until a call's message may be read, and arrived is to be called when it was.
func (a *arriving) enter(ctx context.Context, who wire.Principal) (arrived func(), err error) {
	if a.calls.Add(1) <= a.most {
		return a.arrived, nil
	}
	a.calls.Add(-1)
	caller := callerOf(ctx, who)
	a.mu.Lock()
	q := a.queues[caller]
	if q == nil {
		q = &queue{turns: semaphore.NewWeighted(a.each)}
		a.queues[caller] = q
	}
	q.calls++
	a.mu.Unlock()
	leave := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if q.calls--; q.calls == 0 {
			delete(a.queues, caller)
		}
	}
	if err := q.turns.Acquire(ctx, 1); err != nil {
		leave()
		return nil, status.Error(status.FromContextError(err).Code(), "the call had no turn in its time: too many messages of its caller have begun and not ended")
	}
	return func() { q.turns.Release(1); leave() }, nil
}
