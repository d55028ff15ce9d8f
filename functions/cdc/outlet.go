package cdc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime"
)

// position is where an event is in the order of the changes: the LSN of its
// transaction's commit, 0 for a snapshot, and its place therein. It is the same
// however often PostgreSQL sends the transaction.
type position struct{ lsn, index uint64 }

func (p position) after(q position) bool {
	return p.lsn > q.lsn || p.lsn == q.lsn && p.index > q.index
}

// id is the Nats-Msg-Id of the event at p. Positions of one epoch can be
// compared: a new slot starts another, and so does a PostgreSQL that was promoted,
// whose log has what is before the position at which it left that of the one before.
func (p position) id(epoch string) string {
	b := make([]byte, 0, 64)
	b = append(append(b, epoch...), '-')
	b = append(appendLSN(b, p.lsn), '-')
	return string(strconv.AppendUint(b, p.index, 10))
}

// appendLSN appends an LSN as PostgreSQL writes it, "16/B374D848".
func appendLSN(dst []byte, lsn uint64) []byte {
	at := len(dst)
	dst = append(strconv.AppendUint(dst, lsn>>32, 16), '/')
	dst = strconv.AppendUint(dst, lsn&(1<<32-1), 16)
	for i, c := range dst[at:] {
		if c >= 'a' {
			dst[at+i] = c - 'a' + 'A'
		}
	}
	return dst
}

// parseID is the reverse of id.
func parseID(id, epoch string) (position, bool) {
	rest, ours := strings.CutPrefix(id, epoch+"-")
	text, number, found := strings.Cut(rest, "-")
	lsn, err := pglogrepl.ParseLSN(text)
	index, err2 := strconv.ParseUint(number, 10, 64)
	return position{uint64(lsn), index}, ours && found && err == nil && err2 == nil
}

// parseAny is parseID for any timeline of a generation.
func parseAny(id, generation string) (timeline string, at position, ok bool) {
	rest, ours := strings.CutPrefix(id, generation+".")
	timeline, _, _ = strings.Cut(rest, "-")
	at, ok = parseID(rest, timeline)
	return timeline, at, ours && ok
}

// outlet publishes to one stream, in order, each event once: each message names
// the sequence that the stream must have reached and the id of the message before
// it. So nothing is stored after something that was not, and nothing of an owner
// that has been succeeded; and what was read in one go needs one answer, that of the
// last of it. The sequence alone would not do: a message of somebody
// else's takes the place of the event that it makes the server refuse, and the one
// after that would fit again. The id alone would not do, either: the first event
// of a pass has none before it.
type outlet struct {
	streams.Stream
	js        jetstream.JetStream
	publisher *runtime.Publisher
	done      func(chain, error) // called when the stream has all of a chain, or fails
	epoch     string
	log       timelines // to which those of other epochs belong
	last      uint64    // sequence of the message before the next
	lastID    string    // its id, if it is of this pass
	stored    position  // of the last event there
	unsure    bool      // that is not known: only the dedupe window tells what is there
	found     string    // the id of the last event that was there, of whatever epoch; empty: not known

	messages []*nats.Msg // room for those of a chain
	values   [][6]string // of their headers
	chain    chain       // that is not sent yet
	alone    int         // so many more events are chains of one
}

// chain is what is sent together.
type chain struct {
	last         event
	transactions []*transaction // of each event
	bytes        int
}

const (
	// chainLength and chainBytes bound a chain.
	chainLength = 32
	chainBytes  = 64 << 10
)

// lookBack is how many messages of others may follow our last event.
const lookBack = 100

// open looks up what the stream has.
func (o *outlet) open(ctx context.Context) error {
	s, err := o.js.Stream(ctx, o.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // somebody has deleted it
		if err = streams.Ensure(ctx, o.js, o.Stream); err == nil {
			s, err = o.js.Stream(ctx, o.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", o.Name, err)
	}
	state := s.CachedInfo().State
	o.last, o.lastID, o.stored, o.unsure, o.found = state.LastSeq, "", position{}, state.LastSeq > 0, ""
	if state.Msgs == 0 {
		return nil
	}
	generation, _, _ := strings.Cut(o.epoch, ".")
	for n := state.LastSeq; n >= state.FirstSeq && n+lookBack > state.LastSeq; n-- {
		m, err := s.GetMsg(ctx, n)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound): // deleted, or the replica that answers is behind: then ids tell
		case err != nil:
			return fmt.Errorf("stream %s: message %d: %w", o.Name, n, err)
		default:
			id := m.Header.Get(jetstream.MsgIDHeader)
			if timeline, at, ok := parseAny(id, generation); ok && at.lsn < uint64(o.log.until(timeline)) {
				o.stored, o.unsure = at, false
			}
			if m.Header.Get(streams.OperationHeader) != "" { // of this epoch, or of one that is over
				o.found = id
				return nil
			}
		}
	}
	return nil
}

// event is a change that is to be published.
type event struct {
	at        position
	lsn       string
	committed string
	operation string
	token     string
	payload   []byte
	since     uint64 // where a snapshot began, at its end
}

// has tells whether the event at p is on the stream.
func (o *outlet) has(p position) bool { return !o.unsure && !p.after(o.stored) }

// publish adds an event of t to what is sent next, and sends it where that is enough.
func (o *outlet) publish(ctx context.Context, e event, t *transaction) {
	id := e.at.id(o.epoch)
	m := o.fill(e, id)
	o.chain.last, o.chain.transactions, o.chain.bytes = e, append(o.chain.transactions, t), o.chain.bytes+len(e.payload)
	if o.unsure {
		sent := o.chain
		o.chain = chain{}
		o.done(sent, o.probe(ctx, m))
		return
	}
	o.last++
	o.lastID = id
	if o.alone > 0 || len(o.chain.transactions) == chainLength || o.chain.bytes > chainBytes {
		o.alone = max(o.alone-1, 0)
		o.flush()
	}
}

// flush sends what is to be sent.
func (o *outlet) flush() {
	sent := o.chain
	if n := len(sent.transactions); n > 0 {
		o.chain = chain{transactions: make([]*transaction, 0, n)}
		o.publisher.PublishChain(o.messages[:n], func(err error) { o.done(sent, err) })
	}
}

// fill makes the message of an event, the next of the chain. Each is used again for the chain
// after: it is on the connection, or in its buffer, before that is filled.
func (o *outlet) fill(e event, id string) *nats.Msg {
	if o.messages == nil {
		o.prepare()
	}
	m, values := o.messages[len(o.chain.transactions)], &o.values[len(o.chain.transactions)]
	m.Subject, m.Reply, m.Data = o.Subject(e.token), "", e.payload
	*values = [...]string{id, strconv.FormatUint(o.last, 10), e.lsn, e.committed, e.operation, o.lastID}
	if o.lastID != "" {
		m.Header[jetstream.ExpectedLastMsgIDHeader] = values[5:]
	}
	delete(m.Header, streams.SinceHeader)
	if e.since > 0 {
		m.Header.Set(streams.SinceHeader, strconv.FormatUint(e.since, 10))
	}
	return m
}

// prepare makes the messages, whose headers are where values are.
func (o *outlet) prepare() {
	o.values = make([][6]string, chainLength)
	for i := range o.values {
		m := &nats.Msg{Header: nats.Header{}}
		for j, key := range [...]string{jetstream.MsgIDHeader, jetstream.ExpectedLastSeqHeader, streams.LSNHeader, streams.CommitTimeHeader, streams.OperationHeader} {
			m.Header[key] = o.values[i][j : j+1 : j+1]
		}
		o.messages = append(o.messages, m)
	}
}

// probe publishes and waits, because a duplicate does not move the stream.
func (o *outlet) probe(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ack, err := o.js.PublishMsg(ctx, m)
	if err != nil {
		return err
	}
	if !ack.Duplicate {
		o.last, o.lastID, o.unsure = ack.Sequence, m.Header.Get(jetstream.MsgIDHeader), false
	}
	return nil
}
