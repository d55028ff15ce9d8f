package deadletter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Queue reads and empties the stream of dead letters.
type Queue struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open returns the queue that stands on the stream of that name.
func Open(ctx context.Context, js jetstream.JetStream, name string) (*Queue, error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("there is no stream %s: ponix serve and ponix streams make it", name)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return &Queue{js, s}, nil
}

// Filter selects letters; an empty field matches all.
type Filter struct {
	Function string
	Reason   string
}

func (f Filter) matches(l Letter) bool {
	return (f.Function == "" || f.Function == l.Function) && (f.Reason == "" || f.Reason == l.Reason)
}

// quiet is how long Each waits for a letter before it looks whether there is one.
const quiet = time.Second

// Each calls f for each matching letter, oldest first, until f returns an error. The
// letters come without their payloads: many large ones would be more than a NATS
// server sends ahead, and it would end the connection again and again.
func (q *Queue) Each(ctx context.Context, filter Filter, f func(Letter) error) error {
	info, err := q.stream.Info(ctx)
	if err != nil || info.State.Msgs == 0 {
		return err
	}
	c, err := q.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	it, err := c.Messages()
	if err != nil {
		return err
	}
	defer it.Stop()
	var last uint64
	for {
		msg, err := q.next(ctx, it)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			// What was left may have been dropped meanwhile by somebody else.
			m, err := q.stream.GetMsg(ctx, last+1, jetstream.WithGetMsgSubject(">"))
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound), err == nil && m.Sequence > info.State.LastSeq:
				return nil
			case err != nil:
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		l := parse(&jetstream.RawStreamMsg{Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Header: msg.Headers()})
		if filter.matches(l) {
			if err := f(l); err != nil {
				return err
			}
		}
		if last = meta.Sequence.Stream; last >= info.State.LastSeq || meta.NumPending == 0 {
			return nil
		}
	}
}

func (q *Queue) next(ctx context.Context, it jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	return it.Next(jetstream.NextContext(ctx))
}

// ErrNotFound is returned for a number that no dead letter has.
var ErrNotFound = errors.New("no such dead letter")

// Get returns one letter.
func (q *Queue) Get(ctx context.Context, number uint64) (Letter, error) {
	m, err := q.stream.GetMsg(ctx, number)
	if number == 0 || errors.Is(err, jetstream.ErrMsgNotFound) { // NATS takes 0 for no number
		return Letter{}, fmt.Errorf("%d: %w", number, ErrNotFound)
	}
	if err != nil {
		return Letter{}, err
	}
	return parse(m), nil
}

// ErrIncomplete is returned for a letter that can never be replayed.
var ErrIncomplete = errors.New("it cannot be replayed")

// Replay puts the message of a letter back on its subject with the id that it
// had, and then drops the letter. Doing it twice stores it once.
func (q *Queue) Replay(ctx context.Context, l Letter) error {
	if l.Subject == "" {
		return fmt.Errorf("dead letter %d does not say which subject it came from: %w", l.Number, ErrIncomplete)
	}
	if l.Size > 0 {
		return fmt.Errorf("dead letter %d has only the first %d of %d bytes, as it was too large to keep: %w", l.Number, len(l.Payload), l.Size, ErrIncomplete)
	}
	h := nats.Header{}
	maps.Copy(h, l.Header)
	h.Set(IDHeader, l.ID)
	h.Set(TimeHeader, l.Stored.UTC().Format(time.RFC3339Nano))
	h.Set(jetstream.MsgIDHeader, "replay."+strconv.FormatUint(l.Number, 10)+"."+strconv.FormatInt(l.Died.UnixNano(), 36))
	if _, err := q.js.PublishMsg(ctx, &nats.Msg{Subject: l.Subject, Header: h, Data: l.Payload}); err != nil {
		return fmt.Errorf("publish to %s: %w", l.Subject, err)
	}
	return q.Drop(ctx, l)
}

// Drop removes a letter for good.
func (q *Queue) Drop(ctx context.Context, l Letter) error {
	err := q.stream.DeleteMsg(ctx, l.Number)
	if err != nil { // NATS has one code for all that it cannot delete
		if _, missing := q.Get(ctx, l.Number); errors.Is(missing, ErrNotFound) {
			return missing
		}
	}
	return err
}
