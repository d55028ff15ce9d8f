package runtime

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	"ponix/runtime/wire"
)

// transformBuffer is how many messages of a transform are pulled ahead, and
// publishWindow how many results may wait for their acknowledgement.
const (
	transformBuffer = 5_000
	publishWindow   = 4_096
)

// Transform calls h for each message of the stream from and publishes what it
// returns to the stream to, on the subject with the tokens of subject. The last of them
// names the sender: with it, the message's time and its id make the result's Nats-Msg-Id.
// A message is acknowledged only when its result is stored, and gives exactly one.
// Errors of h mean what they mean to [OnMessage].
func Transform[In message[T], Out proto.Message, T any](from streams.Stream, durable string, to streams.Stream, subject func(Out) []string, h func(context.Context, In) (Out, error)) Binding {
	return Binding{
		name:    from.Name + "/" + durable,
		check:   checkTrigger(from, durable),
		streams: []streams.Stream{from, to},
		start: func(ctx context.Context, b *binding) error {
			t, c, err := newTrigger(ctx, b, from, durable)
			if err != nil {
				return err
			}
			pub, err := NewBatching(b.host.Conn, b.host.Streams.Atomic, max(publishWindow, 2*b.host.Concurrency), ackTimeout)
			if err != nil {
				return err
			}
			t.letters = newPool(b.host.Concurrency, func(f failed) { t.settle(f.msg, f.call, f.err) })
			t.letters.size = func(f failed) int { return len(f.msg.Data()) }
			decode := decoder[In](b.host.validator)
			handle := b.chain(func(ctx context.Context, c *call) ([]byte, error) {
				in, err := decode(c.data)
				if err != nil {
					return nil, Terminate(err)
				}
				out, err := h(ctx, in)
				if err != nil {
					return nil, err
				}
				c.subject = to.Subject(subject(out)...)
				data, err := proto.Marshal(out)
				if err != nil { // text that is not UTF-8
					return nil, Terminate(Error(codes.InvalidArgument, "UNENCODABLE", "%v", err))
				}
				return data, nil
			})
			p := newPool(b.host.Concurrency, func(msg jetstream.Msg) {
				if pub.full() {
					pub.Await(1) // rather without a result in hand, which may be large
				}
				c := t.call(msg)
				data, err := handle(ctx, c)
				if err != nil {
					t.settle(msg, c, err)
					return
				}
				t.publish(pub, &to, msg, c, data)
			})
			p.size = payloadSize
			b.wait = func() {
				p.close()
				pub.Close()
				t.letters.close()
			}
			return t.consume(c, transformBuffer, func(msg jetstream.Msg) {
				pub.Await(b.host.Concurrency) // rather here than in all of the pool
				p.do(msg)
			})
		},
	}
}

// failed is a message that is to be a dead letter.
type failed struct {
	msg  jetstream.Msg
	call *call
	err  error
}

// resultID is the Nats-Msg-Id of a call's result. Senders choose the ids of their messages.
// Two may choose the same, and one may use it again when the stream has forgotten it: those
// are different messages.
func resultID(c *call) string {
	var room [128]byte
	id := append(room[:0], c.subject[strings.LastIndexByte(c.subject, '.')+1:]...)
	id = strconv.AppendInt(append(id, ' '), c.message.Stored.UnixNano(), 36)
	return string(append(append(id, ' '), c.message.ID...))
}

// publish sends a result, and settles its message when the server has answered. A dead letter
// is left to t.letters: the answers to others do not wait for it.
func (t *trigger) publish(pub *Publisher, to *streams.Stream, msg jetstream.Msg, c *call, data []byte) {
	id, size := resultID(c), len(data)
	done := func(err error) {
		switch {
		case errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
			err = Terminate(Error(codes.ResourceExhausted, "RESULT_TOO_LARGE", "the result has %d bytes, more than stream %s is set to take (max_msg_size)", size, to.Name))
		case errors.Is(err, nats.ErrMaxPayload):
			err = Terminate(Error(codes.ResourceExhausted, "RESULT_TOO_LARGE", "the result has %d bytes, NATS takes %d at most", size, t.host.Conn.MaxPayload()))
		}
		if errors.Is(err, errNoStream) {
			go t.host.remake(*to) // which takes longer than others may wait for their answers
		}
		if err != nil {
			t.counters.failures.Add(1)
			t.logPublish.log(t.host.Logger, slog.LevelWarn, "publish", "source", t.name, "error", err)
		}
		switch {
		case err == nil || !errors.As(err, new(*terminal)):
			t.settle(msg, c, err)
		case !t.letters.try(failed{msg, c, err}):
			t.giveBack(msg, backoff(c.message.Attempt))
		}
	}
	result := &nats.Msg{Subject: c.subject, Data: data}
	if !c.traced {
		pub.publishID(result, id, done)
		return
	}
	result.Header = nats.Header{jetstream.MsgIDHeader: {id}} // a header more costs the server 3 % of its time
	wire.InjectTrace(c.trace, result.Header)
	pub.Publish(result, done)
}
