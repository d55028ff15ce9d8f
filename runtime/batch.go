package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
)

// Batch bounds what one OnBatch call receives.
type Batch struct {
	Size    int           // messages at most; default 10 000
	Wait    time.Duration // from a batch's first message to its call; default 250 ms
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
func OnBatch[M proto.Message](s streams.Stream, durable string, limits Batch, h func(context.Context, []M) error) Binding {
	return Binding{
		name:    s.Name + "/" + durable,
		check:   checkTrigger(s, durable),
		streams: []streams.Stream{s},
		start: func(ctx context.Context, b *binding) error {
			t, c, err := newTrigger(ctx, b, s, durable)
			if err != nil {
				return err
			}
			limits := limits.withDefaults()
			p := newPool(limits.Writers, func(batch []jetstream.Msg) { runBatch(ctx, t, batch, h) })
			in := make(chan jetstream.Msg)
			collected := make(chan struct{})
			go func() {
				defer close(collected)
				collect(in, limits, p.do)
			}()
			if err := t.consume(c, limits.Size, func(m jetstream.Msg) { in <- m }); err != nil {
				return err
			}
			b.wait = func() {
				close(in)
				<-collected
				p.close()
			}
			return nil
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

// collect cuts the messages of in into batches, each as large or as old as the
// limits allow, whichever comes first.
func collect(in <-chan jetstream.Msg, limits Batch, emit func([]jetstream.Msg)) {
	var batch []jetstream.Msg
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	flush := func() {
		timer.Stop()
		if len(batch) > 0 {
			emit(batch)
			batch = nil
		}
	}
	for {
		select {
		case m, open := <-in:
			if !open {
				flush()
				return
			}
			if len(batch) == 0 {
				timer.Reset(limits.Wait)
			}
			if batch = append(batch, m); len(batch) >= limits.Size {
				flush()
			}
		case <-timer.C:
			flush()
		}
	}
}

// runBatch decodes a batch, calls h with what can be decoded and settles every
// message.
func runBatch[M proto.Message](ctx context.Context, t *trigger, batch []jetstream.Msg, h func(context.Context, []M) error) {
	items := make([]M, 0, len(batch))
	msgs := make([]jetstream.Msg, 0, len(batch))
	for _, msg := range batch {
		item, err := decode[M](t.host.validator, &Call{Data: msg.Data()})
		if err != nil {
			t.settle(msg, t.call(msg), Terminate(err))
			continue
		}
		items, msgs = append(items, item), append(msgs, msg)
	}
	if len(items) == 0 {
		return
	}
	whole := &Call{Function: t.function, Source: t.name, Messages: len(items)}
	_, err := t.chain(func(ctx context.Context, _ *Call) ([]byte, error) { return nil, failure(h(ctx, items)) })(ctx, whole)
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
		c.Trace = whole.Trace
		t.settle(msg, c, fate)
	}
}
