package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/deadletter"
	"ponix/runtime/wire"
)

// trigger consumes a durable consumer that all instances share.
type trigger struct {
	*binding
	stream   streams.Stream
	consumer string
	letters  *pool[failed] // of a transform
}

// newTrigger finds the consumer, shows it in the service and arranges for the
// purge of what is settled.
func newTrigger(ctx context.Context, b *binding, s streams.Stream, durable string) (*trigger, jetstream.Consumer, error) {
	var stream jetstream.Stream
	var c jetstream.Consumer
	if err := b.host.patiently(ctx, func() (err error) {
		if stream, err = b.host.js.Stream(ctx, s.Name); err == nil {
			c, err = stream.Consumer(ctx, durable)
		}
		return err
	}); err != nil {
		return nil, nil, err
	}
	t := &trigger{binding: b, stream: s, consumer: durable}
	b.service.addTrigger(endpointSpec{
		name: durable, subject: strings.Join(s.Subjects, ","), group: s.Name + "/" + durable, counters: &b.counters,
		pending:  func() *uint64 { return b.host.pendingOf(s.Name, durable) },
		metadata: map[string]string{"trigger." + durable + ".stream": s.Name, "trigger." + durable + ".consumer": durable},
	})
	b.host.retain(t, stream)
	return t, c, nil
}

func checkTrigger(s streams.Stream, durable string) func() error {
	return func() error {
		if !slices.ContainsFunc(s.Consumers, func(c jetstream.ConsumerConfig) bool { return c.Durable == durable }) {
			return fmt.Errorf("stream %q has no consumer %q in nats/streams", s.Name, durable)
		}
		return nil
	}
}

// pullBytes is how much one request for messages brings at most, if it is not a single
// message. It is far below the 64 MiB that wait for a connection before a NATS server
// gives it up as too slow; and nearly all that a trigger has pulled ahead, as the next
// request goes out when half of the messages of the one before are done.
const pullBytes = 16 << 20

// pullLeast is how many messages a trigger asks for at least, and pullHeartbeat how often it
// hears that its request waits. nats.go forgets to ask again where half of a request is done
// before it knows that the request was sent, as a busy machine has it: with a few messages
// often, and seen with 64. It asks again after two heartbeats that did not come; left to
// itself, after half a minute.
const (
	pullLeast     = 64
	pullHeartbeat = 3 * time.Second
)

// consume pulls messages and hands each to f, which may block: then nothing is
// pulled. It fills the binding's stopIntake, which gives back what was pulled and not
// begun: others have it at once, not after AckWait.
func (t *trigger) consume(c jetstream.Consumer, buffer int, f func(jetstream.Msg)) error {
	var stopping atomic.Bool
	begin := func(c jetstream.Consumer) (jetstream.ConsumeContext, error) {
		buffer := max(buffer, pullLeast)
		if most := c.CachedInfo().Config.MaxRequestBatch; most > 0 { // a server may have it as a limit
			buffer = min(buffer, most)
		}
		return c.Consume(
			func(msg jetstream.Msg) {
				if stopping.Load() {
					t.logUnsettled(msg.Nak())
					return
				}
				f(msg)
			},
			jetstream.PullMaxMessagesWithBytesLimit(buffer, max(pullBytes, int(t.host.Conn.MaxPayload())+1<<20)),
			jetstream.PullHeartbeat(pullHeartbeat),
			jetstream.ConsumeErrHandler(func(cc jetstream.ConsumeContext, err error) {
				t.host.Logger.Warn("consume", "source", t.name, "error", err)
				if (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoHeartbeat)) && t.gone() {
					cc.Stop() // the server told nobody, as no request for messages was there
				}
			}))
	}
	cc, err := begin(c)
	if err != nil {
		return err
	}
	quit, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.stopIntake = func() {
		stopping.Store(true)
		stop()
		<-done
	}
	go func() {
		t.keepOn(quit, cc, begin)
		close(done)
	}()
	return nil
}

// keepOn goes on with another consumer where somebody deletes it, until quit.
func (t *trigger) keepOn(quit context.Context, cc jetstream.ConsumeContext, begin func(jetstream.Consumer) (jetstream.ConsumeContext, error)) {
	for cc != nil {
		closed := cc.Closed()
		select {
		case <-closed:
			cc = t.resume(quit, begin)
		case <-quit.Done():
			if t.host.Conn.IsConnected() {
				cc.Drain()
			} else {
				cc.Stop() // there is nobody to give anything back to
			}
			<-closed
			return
		}
	}
}

// resume begins anew with a consumer that was deleted, as soon as that can be; nil
// where it is to stop before.
func (t *trigger) resume(quit context.Context, begin func(jetstream.Consumer) (jetstream.ConsumeContext, error)) jetstream.ConsumeContext {
	again := func() (jetstream.ConsumeContext, error) {
		ctx, cancel := context.WithTimeout(quit, 5*time.Second)
		defer cancel()
		if err := streams.Ensure(ctx, t.host.js, t.stream); err != nil {
			return nil, err
		}
		stream, err := t.host.js.Stream(ctx, t.stream.Name)
		if err != nil {
			return nil, err
		}
		c, err := stream.Consumer(ctx, t.consumer)
		if err != nil {
			return nil, err
		}
		return begin(c)
	}
	for attempt := 1; !t.host.Conn.IsClosed(); attempt++ {
		select {
		case <-quit.Done():
			return nil
		case <-time.After(backoff(attempt)):
		}
		cc, err := again()
		if err == nil {
			return cc
		}
		t.host.Logger.Error("the consumer is gone and cannot be made again", "source", t.name, "error", err)
	}
	return nil
}

// gone tells whether the server has no such consumer any more.
func (t *trigger) gone() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := t.host.js.Consumer(ctx, t.stream.Name, t.consumer)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

func payloadSize(msg jetstream.Msg) int { return len(msg.Data()) }

// call describes one message to the middleware.
func (t *trigger) call(msg jetstream.Msg) *call {
	return &call{function: t.function, source: t.name, header: msg.Headers(), data: msg.Data(), messages: 1, message: t.describe(msg), unheard: true}
}

// maxPanics is how often a message may make its handler panic before it becomes
// a dead letter.
const maxPanics = 5

// settle carries out what the handler's error says about a message.
func (t *trigger) settle(msg jetstream.Msg, c *call, err error) {
	if err == nil {
		t.logUnsettled(msg.Ack())
		return
	}
	var after *retry
	var panicked *panicError
	switch {
	case errors.As(err, new(*terminal)):
		t.bury(msg, c, reason(err), err)
	case errors.As(err, &panicked) && c.message.Attempt >= maxPanics:
		t.bury(msg, c, "PANIC", fmt.Errorf("panic: %v", panicked.value))
	case errors.As(err, &after):
		t.giveBack(msg, after.after)
	default:
		t.giveBack(msg, backoff(c.message.Attempt))
	}
}

func (t *trigger) giveBack(msg jetstream.Msg, d time.Duration) {
	t.counters.retried.Add(1)
	t.logUnsettled(msg.NakWithDelay(d))
}

// headerTooLarge is the server's code for headers of more than 64 KiB.
const headerTooLarge = 10097

// bury writes a dead letter, and ends the message only when that is stored.
func (t *trigger) bury(msg jetstream.Msg, c *call, reason string, cause error) {
	_, _, arrived := delivery(msg.Reply())
	l := deadletter.Letter{
		Function: t.function, Reason: reason, Error: PublicText(cause), ID: c.message.ID, Stored: c.message.Stored, Arrived: arrived,
		Stream: t.stream.Name, Subject: msg.Subject(), Sequence: c.message.Sequence, Deliveries: c.message.Attempt,
		Header: msg.Headers(), Payload: msg.Data(),
	}
	letter := l.Message(t.host.Streams.DeadLetters().Name)
	wire.InjectTrace(c.trace, letter.Header)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := t.host.putLetter(ctx, letter)
	for _, shorten := range []func(*nats.Msg) *nats.Msg{deadletter.ShortenHeaders, deadletter.ShortenPayload} { // without its payload nobody can replay it
		if tooLarge(err) { // with what happened to it, it is larger than before
			err = t.host.putLetter(ctx, shorten(letter))
		}
	}
	if err != nil {
		t.logLetter.log(t.host.Logger, slog.LevelError, "dead letter", "source", t.name, "reason", reason, "error", err)
		t.giveBack(msg, backoff(c.message.Attempt))
		return
	}
	t.counters.deadLetters.Add(1)
	t.logUnsettled(msg.TermWithReason(reason))
}

// tooLarge tells whether NATS does not take a message of that size.
func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) || errors.As(err, &api) && api.ErrorCode == headerTooLarge
}

func (h *Host) putLetter(ctx context.Context, letter *nats.Msg) error {
	_, err := h.js.PublishMsg(ctx, letter)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		h.remake(h.Streams.DeadLetters())
	}
	return err
}

// logUnsettled notes an acknowledgement that did not get out. The message will
// be delivered again, which changes nothing.
func (t *trigger) logUnsettled(err error) {
	if err != nil {
		t.logSettle.log(t.host.Logger, slog.LevelWarn, "settle", "source", t.name, "error", err)
	}
}

// backoff is the delay before a further delivery: 0.5 s doubled with each
// attempt up to 15 s, with jitter, so that instances do not fall into step.
func backoff(attempt int) time.Duration {
	d := min(500*time.Millisecond<<min(max(attempt-1, 0), 10), 15*time.Second)
	return d/2 + rand.N(d)
}
