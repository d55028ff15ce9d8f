package runtime

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"ponix/nats/streams"
	"ponix/runtime/wire"
)

// Batch bounds what one OnBatch call receives.
type Batch struct {
	Size    int           // messages at most; default 10 000
	Wait    time.Duration // from a batch's first message to its call; default 250 ms, of which up to a quarter is kept for the call
	Writers int           // calls at a time; default 2
}

func (b Batch) withDefaults() Batch {
	if b.Size <= 0 {
		b.Size = 10_000
	}
	if b.Wait <= 0 {
		b.Wait = 250 * time.Millisecond
	}
	if b.Writers <= 0 {
		b.Writers = 2
	}
	return b
}

// OnBatch is [OnMessage] for work that is cheaper in bulk: h gets up to a batch
// of messages, and nothing is acknowledged before it has returned. An error is
// the fate of the whole batch, but for a [BatchError], which has one for each.
//
// read makes of a payload what h gets; its errors are final. decode is how every other
// trigger reads a payload: as an M that is held to the rules of its .proto. A read that
// goes without it has to know that the payload would pass.
func OnBatch[M message[P], T, P any](s streams.Stream, durable string, limits Batch, read func(payload []byte, decode func([]byte) (M, error)) (T, error), h func(context.Context, []T) error) Binding {
	return Binding{
		name:    s.Name + "/" + durable,
		check:   checkTrigger(s, durable),
		streams: []streams.Stream{s},
		start: func(ctx context.Context, b *binding) error {
			t, c, err := newTrigger(ctx, b, s, durable)
			if err != nil {
				return err
			}
			decode := decoder[M](b.host.validator)
			limits := limits.withDefaults()
			collected := newCollector(limits)
			p := newPool(limits.Writers, func(batch []jetstream.Msg) {
				began := time.Now()
				runBatch(ctx, t, batch, func(payload []byte) (T, error) { return read(payload, decode) }, h)
				collected.took.Store(int64(time.Since(began)))
			})
			collected.emit = p.do
			b.wait = func() {
				collected.flush()
				p.close()
			}
			return t.consume(c, limits.Size, collected.add)
		},
	}
}

// failure is nil for a BatchError in which nothing failed.
func failure(err error) error {
	var each BatchError
	if errors.As(err, &each) && failedOf(err, len(each)) == 0 {
		return nil
	}
	return err
}

// collector cuts messages into batches, each as large or as old as the limits allow,
// whichever comes first. One that is to be old goes early by what the last call took,
// so that a message's effect, and not only its call, is there after the wait.
type collector struct {
	limits Batch
	emit   func([]jetstream.Msg) // may block: then no more is taken
	timer  *time.Timer
	took   atomic.Int64 // by the last call, in nanoseconds

	mu    sync.Mutex
	batch []jetstream.Msg
	bytes int // of the batch's payloads
}

// batchBytes is how large the payloads of a batch get before it is called, whatever its
// size. Some four times as much is in memory for each call.
const batchBytes = 8 << 20

func newCollector(limits Batch) *collector {
	c := &collector{limits: limits}
	c.timer = time.AfterFunc(time.Hour, c.flush)
	c.timer.Stop()
	return c
}

func (c *collector) add(m jetstream.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.batch) == 0 {
		c.timer.Reset(c.limits.Wait - min(time.Duration(c.took.Load()), c.limits.Wait/4))
	}
	c.batch, c.bytes = append(c.batch, m), c.bytes+len(m.Data())
	if len(c.batch) >= c.limits.Size || c.bytes >= batchBytes {
		c.take()
	}
}

// flush emits what there is.
func (c *collector) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take()
}

func (c *collector) take() {
	c.timer.Stop()
	if batch := c.batch; len(batch) > 0 {
		c.batch, c.bytes = nil, 0
		c.emit(batch)
	}
}

// guarded is read, whose panic is an error.
func guarded[T any](read func([]byte) (T, error), payload []byte) (item T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return read(payload)
}

// runBatch reads a batch, calls h with what can be read and settles every message.
func runBatch[T any](ctx context.Context, t *trigger, batch []jetstream.Msg, read func([]byte) (T, error), h func(context.Context, []T) error) {
	items := make([]T, 0, len(batch))
	msgs := make([]jetstream.Msg, 0, len(batch))
	for _, msg := range batch {
		item, err := guarded(read, msg.Data())
		if err != nil {
			t.counters.count(1, err) // there is no call of it
			c := t.call(msg)
			c.trace = trace.SpanContextFromContext(wire.ExtractTrace(ctx, c.header))
			if errors.As(err, new(*panicError)) { // which has a few attempts
				t.logCall.log(t.host.Logger, slog.LevelError, "read", "source", t.name, "error", err)
			} else {
				err = Terminate(err)
			}
			t.settle(msg, c, err)
			continue
		}
		items, msgs = append(items, item), append(msgs, msg)
	}
	if len(items) > 0 {
		callBatch(ctx, t, items, msgs, h)
	}
}

// callBatch calls h and settles every message. Where h panics, halves are tried, so that
// nobody pays for another's panic.
func callBatch[T any](ctx context.Context, t *trigger, items []T, msgs []jetstream.Msg, h func(context.Context, []T) error) {
	whole := &call{function: t.function, source: t.name, messages: len(items), unheard: true}
	_, err := t.chain(func(ctx context.Context, _ *call) ([]byte, error) { return nil, failure(h(ctx, items)) })(ctx, whole)
	if half := len(items) / 2; half > 0 && errors.As(err, new(*panicError)) {
		callBatch(ctx, t, items[:half:half], msgs[:half], h)
		callBatch(ctx, t, items[half:], msgs[half:], h)
		return
	}
	var each BatchError
	if !errors.As(err, &each) || len(each) != len(msgs) {
		each = nil
	}
	for i, msg := range msgs {
		fate := err
		if each != nil {
			fate = each[i]
		}
		if fate == nil {
			t.logUnsettled(msg.Ack())
			continue
		}
		c := t.call(msg)
		c.trace = whole.trace
		t.settle(msg, c, fate)
	}
}
