package runtime

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/deadletter"
)

// Message describes the delivery that a trigger's handler works on.
type Message struct {
	// ID is derived from the message alone, so every delivery and every replay
	// has the same: its Nats-Msg-Id if it has one, otherwise the creation time
	// of its stream and its sequence.
	ID       string
	Stored   time.Time // when the stream stored it first
	Attempt  int       // 1 for the first delivery
	Sequence uint64    // in its stream
	Subject  string    // that it was published to
}

type messageKey struct{}

// MessageFrom returns what the runtime knows of the message being handled; the
// zero value outside of a trigger.
func MessageFrom(ctx context.Context) Message {
	m, _ := ctx.Value(messageKey{}).(*Message)
	if m == nil {
		return Message{}
	}
	return *m
}

// describe reads the delivery's metadata. A replayed message keeps the id and
// the time that it had when it was new.
func (t *trigger) describe(msg jetstream.Msg) Message {
	var m Message
	if meta, err := msg.Metadata(); err == nil {
		m = Message{Stored: meta.Timestamp, Attempt: int(meta.NumDelivered), Sequence: meta.Sequence.Stream}
	}
	m.Subject = msg.Subject()
	h := msg.Headers()
	if id := h.Get(deadletter.IDHeader); id != "" {
		m.ID = id
		if at, err := time.Parse(time.RFC3339Nano, h.Get(deadletter.TimeHeader)); err == nil {
			m.Stored = at
		}
		return m
	}
	if m.ID = h.Get(jetstream.MsgIDHeader); m.ID == "" {
		m.ID = t.epoch + "-" + strconv.FormatUint(m.Sequence, 10)
	}
	return m
}

// epoch tells apart streams of the same name that were created at different
// times, whose sequences start again.
func epoch(created time.Time) string {
	return strings.ToLower(strconv.FormatInt(created.UnixNano(), 36))
}
