package runtime

import (
	"context"
	"sync"
	"time"

	"ponix/runtime/wire"
)

// deadline bounds a call by the time that its caller has left, or by the
// default where the caller named none. Nobody waits for a message: what its
// headers say of time does not count.
func deadline(standard time.Duration, next handler) handler {
	return func(ctx context.Context, c *call) ([]byte, error) {
		d := standard
		if v := c.header.Get(wire.TimeoutHeader); v != "" && c.message.Sequence == 0 {
			if left, err := time.ParseDuration(v); err == nil {
				d = left
			}
		}
		c.bounded.Context, c.bounded.at, c.bounded.call = ctx, c.began.Add(d), c
		defer c.bounded.end()
		return next(&c.bounded, c)
	}
}

// deadlineContext is what context.WithDeadline returns, but for its timer, which
// starts when somebody asks whether it is done: most calls never do. It also knows
// the call and its trace.
type deadlineContext struct {
	context.Context // that it comes of; it has no deadline
	at              time.Time
	call            *call

	mu     sync.Mutex
	timed  context.Context
	cancel context.CancelFunc
	ended  bool
}

func (d *deadlineContext) Deadline() (time.Time, bool) { return d.at, true }
func (d *deadlineContext) Value(key any) any {
	switch key {
	case callKey{}:
		return d.call
	case wire.TraceKey{}:
		return d.call.trace
	}
	return d.Context.Value(key)
}

func (d *deadlineContext) Done() <-chan struct{} { return d.start().Done() }
func (d *deadlineContext) Err() error            { return d.start().Err() }

func (d *deadlineContext) start() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.cancel = context.WithDeadline(d.Context, d.at)
		if d.ended {
			d.cancel()
		}
	}
	return d.timed
}

// end cancels the context: the call is over.
func (d *deadlineContext) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.cancel != nil {
		d.cancel()
	}
}
