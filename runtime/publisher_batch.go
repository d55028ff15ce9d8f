package runtime

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// The headers of an atomic batch (ADR-50 of NATS; nats-server 2.12.1). The server stores
// all messages of one or none, and answers the last.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// batchSize is the messages of a batch at most, the server's limit.
const batchSize = 1_000

// Batches are sent in rounds of so many messages, sorted by their subjects: a server
// whose full streams refuse messages adds up, for each message, what its batch holds of
// each subject. With a thousand devices the throughput was 0.65 of that without fsync and
// batches; unsorted, 0.47.
const batchRound = 4 * batchSize

// BatchWindow is a window for a publisher that sends in batches: of three rounds.
const BatchWindow = 3 * batchRound

// The server's codes of refused batches whose messages may be good one by one, as where one
// is too large: a message is stored already; some of the batch got lost, with a connection.
const (
	batchDuplicate  = 10201
	batchIncomplete = 10176
)

// InBatches has the publisher send what comes while answers are awaited in atomic batches
// of up to 1 000 messages; those of one subject stay in order, as long as no batch is
// refused for one of its messages. A server that calls fsync before each answer
// (sync_interval: always) then does so once for a batch. Call it before the first Publish,
// with a window of BatchWindow. All messages go to one stream, and none expects a sequence
// of it.
func (p *Publisher) InBatches() { p.batches = true }

// NewBatching is NewPublisher for one that sends in batches where atomic says so, for which
// the window is BatchWindow at least.
func NewBatching(conn *nats.Conn, atomic bool, window int, timeout time.Duration) (*Publisher, error) {
	if atomic {
		window = max(window, BatchWindow)
	}
	p, err := NewPublisher(conn, window, timeout)
	if err == nil && atomic {
		p.InBatches()
	}
	return p, err
}

// ready tells whether what is queued is to be sent. The caller holds the lock.
func (p *Publisher) ready() bool {
	return len(p.queue) >= batchRound || len(p.queue) > 0 && (!p.batches || p.flying == 0)
}

// put sends messages, one by one or in batches.
func (p *Publisher) put(all []outgoing) {
	if !p.batches {
		p.each(all)
		return
	}
	slices.SortStableFunc(all, func(a, b outgoing) int { return strings.Compare(a.Subject, b.Subject) })
	for some := range slices.Chunk(all, batchSize) {
		p.putBatch(slices.Clone(some))
	}
}

func (p *Publisher) each(all []outgoing) {
	for _, m := range all {
		if m.id != "" { // then nobody else is here
			p.header[jetstream.MsgIDHeader][0] = m.id
			m.Header = p.header
		}
		if err := p.conn.PublishMsg(m.Msg); err != nil {
			p.finish(m.slot, m.round, err)
		}
	}
}

// putBatch sends a batch. If that cannot be, the server forgets what it has of it, and
// the messages are sent one by one. What has failed while it was queued is not sent: its
// slot may be another's by now, and would not tell when the batch has landed.
func (p *Publisher) putBatch(batch []outgoing) {
	p.mu.Lock()
	batch = p.waiting(batch)
	if len(batch) == 0 {
		p.mu.Unlock()
		return
	}
	last := batch[len(batch)-1]
	p.slots[last.slot].batch = batch
	p.flying++
	p.mu.Unlock()
	if len(batch) > 1 {
		if p.sendBatch(batch) == nil {
			return
		}
		p.mu.Lock()
		p.land(last.slot, last.round)
		p.mu.Unlock()
	}
	unbatch(batch) // one that is alone may have been in a batch that was refused
	p.each(batch)
}

// waiting is those of a batch that have not failed. What has may be published again, and
// is not to be touched. The caller holds the lock.
func (p *Publisher) waiting(batch []outgoing) []outgoing {
	return slices.DeleteFunc(batch, func(m outgoing) bool { return p.slots[m.slot].round != m.round || p.slots[m.slot].done == nil })
}

func (p *Publisher) sendBatch(batch []outgoing) error {
	id, numbers := []string{nuid.Next()}, batchNumbers()
	for i, m := range batch {
		if m.Header == nil {
			m.Header = make(nats.Header, 3)
		}
		m.Header[batchIDHeader] = id
		m.Header[batchSequenceHeader] = numbers[i : i+1 : i+1]
		if i == len(batch)-1 {
			m.Header[batchCommitHeader] = numbers[:1:1]
			return p.conn.PublishMsg(m.Msg)
		}
		reply := m.Reply
		m.Reply = "" // only the last is answered
		err := p.conn.PublishMsg(m.Msg)
		m.Reply = reply
		if err != nil {
			return err
		}
	}
	return nil
}

// batchNumbers are "1" and on, made once.
var batchNumbers = sync.OnceValue(func() []string {
	all := make([]string, batchSize)
	for i := range all {
		all[i] = strconv.Itoa(i + 1)
	}
	return all
})

// land notes that the batch which ends with that message, if one does, is not on its
// way any more. The caller holds the lock.
func (p *Publisher) land(i int, round uint64) (batch []outgoing) {
	s := &p.slots[i]
	if s.round != round || s.batch == nil {
		return nil
	}
	batch, s.batch = s.batch, nil
	p.flying--
	return batch
}

// unbatch takes the headers of a batch away, so that each message can be sent alone.
func unbatch(batch []outgoing) {
	for _, m := range batch {
		for _, key := range []string{batchIDHeader, batchSequenceHeader, batchCommitHeader} {
			delete(m.Header, key)
		}
	}
}

// finishBatch is finish for the messages of a batch whose last one was answered. Then
// the next batch goes.
func (p *Publisher) finishBatch(batch []outgoing, err error) {
	defer p.sendNext()
	var api *jetstream.APIError
	if errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && (api.ErrorCode == batchDuplicate || api.ErrorCode == batchIncomplete) {
		p.mu.Lock()
		batch = p.waiting(batch)
		p.mu.Unlock()
		unbatch(batch)
		p.each(batch)
		return
	}
	for _, m := range batch {
		p.finish(m.slot, m.round, err)
	}
}

func (p *Publisher) sendNext() {
	p.mu.Lock()
	p.send()
	p.mu.Unlock()
}
