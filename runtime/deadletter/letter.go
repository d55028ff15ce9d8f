// Package deadletter is the queue of messages that could not be handled: how
// one is written, read, given another try and dropped.
//
// A dead letter stands on dead_letters.<function>.<reason>. Its payload and
// headers are those of the message; what happened to it stands in headers that
// start with Ponix-.
package deadletter

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/wire"
)

// Headers of a dead letter. IDHeader and TimeHeader are also what a replayed
// message carries, so that it keeps its identity.
const (
	IDHeader   = "Ponix-Envelope-Id" // the message's id
	TimeHeader = "Ponix-Time"        // when it was stored first, RFC 3339

	functionHeader   = "Ponix-Function"
	reasonHeader     = "Ponix-Reason"
	errorHeader      = "Ponix-Error"
	streamHeader     = "Ponix-Stream"
	subjectHeader    = "Ponix-Subject"
	sequenceHeader   = "Ponix-Sequence"
	deliveriesHeader = "Ponix-Deliveries"
	sizeHeader       = "Ponix-Payload-Size" // only where the payload is shortened

	traceHeader  = "traceparent"
	statusHeader = "Status" // the server's alone: with it a letter without its payload, as Each gets it, would be taken for a word of the server's
)

// Letter is one dead letter.
type Letter struct {
	Number     uint64    `json:"number"` // its place in the queue
	Died       time.Time `json:"died"`
	Function   string    `json:"function"`
	Reason     string    `json:"reason"`
	Error      string    `json:"error"`
	ID         string    `json:"envelope_id"`
	Stored     time.Time `json:"stored"`
	Arrived    time.Time `json:"-"` // when Stream stored it: later than Stored where it was replayed; not read back
	Stream     string    `json:"stream"`
	Subject    string    `json:"subject"`
	Sequence   uint64    `json:"sequence"`
	Deliveries int       `json:"deliveries"`
	TraceID    string    `json:"trace_id"`
	// Size is that of the message's payload where Payload is only its beginning:
	// the letter would have been larger than NATS takes. Otherwise it is 0.
	Size int `json:"payload_size,omitempty"`

	Header  nats.Header `json:"header,omitempty"` // of the message, without what NATS and Ponix write
	Payload []byte      `json:"payload,omitempty"`
}

// Message encodes l. queue is the name of the stream of dead letters.
func (l Letter) Message(queue string) *nats.Msg {
	h := nats.Header{}
	for k, v := range l.Header {
		if !reserved(k) && writable(k) && k != statusHeader {
			h[k] = v
		}
	}
	h.Set(functionHeader, l.Function)
	h.Set(reasonHeader, l.Reason)
	h.Set(errorHeader, wire.OneLine(wire.Shorten(l.Error, shortened))) // it may quote the message
	h.Set(IDHeader, l.ID)
	h.Set(TimeHeader, l.Stored.UTC().Format(time.RFC3339Nano))
	h.Set(streamHeader, l.Stream)
	h.Set(subjectHeader, l.Subject)
	h.Set(sequenceHeader, strconv.FormatUint(l.Sequence, 10))
	h.Set(deliveriesHeader, strconv.Itoa(l.Deliveries))
	// One message dies once: a second attempt to write its letter is dropped. A replayed one
	// may have the sequence and the time that it had, where its stream was made again.
	h.Set(jetstream.MsgIDHeader, strings.Join([]string{"dead", l.Function, l.Stream, strconv.FormatInt(l.Arrived.UnixNano(), 36), strconv.FormatUint(l.Sequence, 10)}, "."))
	return &nats.Msg{
		Subject: queue + "." + l.Function + "." + strings.ToLower(l.Reason),
		Header:  h,
		Data:    l.Payload,
	}
}

// shortened is how much of a payload a letter keeps that is too large for NATS,
// in bytes.
const shortened = 4096

// ShortenHeaders leaves none of the message's headers that are long. A letter can be
// replayed without them.
func ShortenHeaders(letter *nats.Msg) *nats.Msg {
	left := shortened
	for _, k := range slices.Sorted(maps.Keys(letter.Header)) {
		if reserved(k) {
			continue
		}
		for _, v := range letter.Header[k] { // each is a line of its own
			left -= len(k) + len(v) + 4
		}
		if left < 0 {
			delete(letter.Header, k)
		}
	}
	return letter
}

// ShortenPayload leaves only the beginning of a letter's payload.
func ShortenPayload(letter *nats.Msg) *nats.Msg {
	if len(letter.Data) > shortened {
		letter.Header.Set(sizeHeader, strconv.Itoa(len(letter.Data)))
		letter.Data = letter.Data[:shortened]
	}
	return letter
}

// parse reads a stored dead letter.
func parse(m *jetstream.RawStreamMsg) Letter {
	l := Letter{
		Number: m.Sequence, Died: m.Time, Payload: m.Data, Header: nats.Header{},
		Function: m.Header.Get(functionHeader), Reason: m.Header.Get(reasonHeader), Error: m.Header.Get(errorHeader),
		ID: m.Header.Get(IDHeader), Stream: m.Header.Get(streamHeader), Subject: m.Header.Get(subjectHeader),
	}
	l.Stored, _ = time.Parse(time.RFC3339Nano, m.Header.Get(TimeHeader))
	l.Sequence, _ = strconv.ParseUint(m.Header.Get(sequenceHeader), 10, 64)
	l.Size, _ = strconv.Atoi(m.Header.Get(sizeHeader))
	l.Deliveries, _ = strconv.Atoi(m.Header.Get(deliveriesHeader))
	if parts := strings.Split(m.Header.Get(traceHeader), "-"); len(parts) == 4 {
		l.TraceID = parts[1]
	}
	for k, v := range m.Header {
		if !reserved(k) {
			l.Header[k] = v
		}
	}
	return l
}

// writable tells whether nats.go writes a header of that name; others may.
func writable(header string) bool {
	return header != "" && !strings.ContainsFunc(header, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
}

func reserved(header string) bool {
	return strings.HasPrefix(header, "Nats-") || strings.HasPrefix(header, "Ponix-")
}
