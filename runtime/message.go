package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/deadletter"
)

// Message describes the delivery that a trigger's handler works on.
type Message struct {
	// ID is derived from the message alone, so every delivery and every replay
	// has the same, also of a stream that was restored from a backup: its
	// Nats-Msg-Id if it has one, otherwise when it was stored and its sequence.
	ID       string
	Stored   time.Time   // when the stream stored it first
	Attempt  int         // 1 for the first delivery
	Sequence uint64      // in its stream
	Subject  string      // that it was published to
	Header   nats.Header // as it came
}

// maxID is the bytes of an id at most, as a ProcessedEnvelope may have it; of a longer one,
// and of one that is not UTF-8, the hash is taken.
const maxID = 255

// MessageFrom returns what the runtime knows of the message being handled; the
// zero value outside of a trigger.
func MessageFrom(ctx context.Context) Message {
	if c := callOf(ctx); c != nil {
		return c.message
	}
	return Message{}
}

// describe reads the delivery's metadata. A replayed message keeps the id and
// the time that it had when it was new.
func (t *trigger) describe(msg jetstream.Msg) Message {
	var m Message
	m.Attempt, m.Sequence, m.Stored = delivery(msg.Reply())
	m.Subject = msg.Subject()
	h := msg.Headers()
	m.Header = h
	if m.ID = h.Get(deadletter.IDHeader); m.ID != "" {
		if at, err := time.Parse(time.RFC3339Nano, h.Get(deadletter.TimeHeader)); err == nil {
			m.Stored = at
		}
	} else if m.ID = h.Get(jetstream.MsgIDHeader); m.ID == "" {
		m.ID = streamID(m.Stored, m.Sequence)
	}
	if len(m.ID) > maxID || !utf8.ValidString(m.ID) {
		sum := sha256.Sum256([]byte(m.ID))
		m.ID = hex.EncodeToString(sum[:])
	}
	return m
}

// delivery reads the subject that a delivery is acknowledged on: what the message's
// Metadata has, without copies (ADR-15 of NATS):
//
//	$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.<of the consumer>.<stored>.<pending>[.<token>]
func delivery(reply string) (attempt int, sequence uint64, stored time.Time) {
	token := -4
	if strings.Count(reply, ".") > 8 {
		token = -6
	}
	var numbers [4]int64
	for _, c := range []byte(reply) {
		switch {
		case c == '.':
			token++
		case token >= 0 && token < len(numbers):
			numbers[token] = 10*numbers[token] + int64(c-'0') // the server's own
		}
	}
	return int(numbers[0]), uint64(numbers[1]), time.Unix(0, numbers[3])
}

// streamID is the id of a message without one of its own. The time in it, in nanoseconds,
// tells apart streams of the same name, whose sequences start again where one was deleted.
// When a stream was created would not do: that of a restored one is when it was restored.
func streamID(stored time.Time, sequence uint64) string {
	return strconv.FormatInt(stored.UnixNano(), 36) + "-" + strconv.FormatUint(sequence, 10)
}
