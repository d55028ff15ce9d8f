package runtime

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
)

// OnMessage calls h for each message of a stream's durable consumer, up to
// Config.Concurrency of them at a time. h returns nil when the message is done,
// [Terminate] when it never can be, [RetryAfter] or any other error when it
// should come again.
func OnMessage[M message[T], T any](s streams.Stream, durable string, h func(context.Context, M) error) Binding {
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
			handle := b.chain(func(ctx context.Context, c *call) ([]byte, error) {
				m, err := decode(c.data)
				if err != nil {
					return nil, Terminate(err)
				}
				return nil, h(ctx, m)
			})
			p := newPool(b.host.Concurrency, func(msg jetstream.Msg) {
				c := t.call(msg)
				_, err := handle(ctx, c)
				t.settle(msg, c, err)
			})
			p.size, b.wait = payloadSize, p.close
			return t.consume(c, 2*b.host.Concurrency, p.do)
		},
	}
}
