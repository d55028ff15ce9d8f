package runtime

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackTimeout is how long a transform's publish may stay unanswered before it counts as
// failed. A result that was stored nevertheless is not stored twice: it has the same
// Nats-Msg-Id.
const ackTimeout = 10 * time.Second

// Publisher publishes to JetStream without waiting and calls back with each
// answer. What one goroutine publishes arrives in that order, but for InBatches. It is
// jetstream.PublishAsync with one inbox and a ring of slots in place of a future for
// each message, which costs a third of the pipeline's time.
type Publisher struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	prefix  string
	timeout int         // in ticks of expire
	header  nats.Header // of the message that is being sent, where all it has is an id
	batches bool
	stop    chan struct{}

	bytes atomic.Int64 // of the messages that wait for their answers

	mu      sync.Mutex
	ticks   int
	slots   []slot
	free    []int     // of the slots; the one used last is first again
	flight  int       // messages without an answer
	room    sync.Cond // those are fewer than the window, and there are not too many bytes
	aborted bool

	queue, sent []outgoing // what is to be sent, and room for the next queue
	sending     bool       // by one of those who publish, for all of them
	flying      int        // batches that are not answered
}

type outgoing struct {
	*nats.Msg
	id    string // its Nats-Msg-Id, where it has no headers
	slot  int
	round uint64
}

type slot struct {
	round    uint64      // tells a late answer from that of the slot's next use
	late     int         // the tick that the answer has to be there before
	done     func(error) // nil while the slot is free
	messages int         // that the answer is for
	size     int64       // of these, in bytes
	batch    []outgoing  // that ends with this message, until it is answered
}

// publishBytes bounds the messages of a publisher that wait for their answer: as much
// as JetStream takes in a tenth of a second or so.
const publishBytes = 16 << 20

// NewPublisher returns a publisher that lets so many messages wait for their
// answer at a time, of 16 MiB and one message or chain together, each so long, in whole seconds,
// or up to a second more. Close it.
func NewPublisher(conn *nats.Conn, window int, timeout time.Duration) (*Publisher, error) {
	p := &Publisher{
		conn: conn, prefix: conn.NewInbox() + ".", timeout: int((timeout + tick - 1) / tick),
		header: nats.Header{jetstream.MsgIDHeader: {""}}, stop: make(chan struct{}), slots: make([]slot, window),
	}
	p.room.L = &p.mu
	for i := range window {
		p.free = append(p.free, i)
	}
	sub, err := conn.Subscribe(p.prefix+"*.*", p.answered)
	if err != nil {
		return nil, err
	}
	p.sub = sub
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	go p.expire()
	return p, nil
}

// Publish sends m and calls done exactly once, with nil when m is stored. It
// waits while the window is full, but not for others who publish. done must not call
// it. What is larger than NATS or the stream takes is a [nats.ErrMaxPayload].
func (p *Publisher) Publish(m *nats.Msg, done func(error)) {
	p.publish(outgoing{Msg: m}, 1, int64(len(m.Data)), done)
}

// publishID is Publish for a message that has an id and no other header: none is made for
// it, but for a batch.
func (p *Publisher) publishID(m *nats.Msg, id string, done func(error)) {
	if p.batches {
		m.Header, id = nats.Header{jetstream.MsgIDHeader: {id}}, ""
	}
	p.publish(outgoing{Msg: m, id: id}, 1, int64(len(m.Data)), done)
}

// publish sends m, whose answer is for so many messages of so many bytes.
func (p *Publisher) publish(m outgoing, messages int, size int64, done func(error)) {
	p.mu.Lock()
	p.await(messages)
	last := len(p.free) - 1
	i := p.free[last]
	p.free = p.free[:last]
	s := &p.slots[i]
	s.round++
	s.late, s.done, s.messages, s.size = p.ticks+p.timeout+1, done, messages, size
	p.flight += messages
	p.bytes.Add(size)
	reply := make([]byte, 0, 64)
	reply = append(reply, p.prefix...)
	reply = strconv.AppendUint(reply, uint64(i), 36)
	reply = append(reply, '.')
	reply = strconv.AppendUint(reply, s.round, 36)
	m.Reply = string(reply)
	if p.aborted {
		round := s.round
		p.mu.Unlock()
		p.finish(i, round, errAborted)
		return
	}
	m.slot, m.round = i, s.round
	p.queue = append(p.queue, m)
	p.send()
	p.mu.Unlock()
}

// send sends what is queued, if nobody does: while the connection is busy, one waits
// for it and not all.
func (p *Publisher) send() {
	if p.sending {
		return
	}
	p.sending = true
	for p.ready() {
		now := p.queue
		p.queue = p.sent[:0]
		p.mu.Unlock()
		p.put(now)
		clear(now)
		p.mu.Lock()
		p.sent = now
	}
	p.sending = false
}

func (p *Publisher) finish(i int, round uint64, err error) {
	p.mu.Lock()
	s := &p.slots[i]
	done := s.done
	if done == nil || s.round != round {
		p.mu.Unlock()
		return
	}
	s.done = nil
	if p.land(i, round) != nil {
		p.send()
	}
	p.mu.Unlock()
	done(err)
	p.mu.Lock()
	p.free = append(p.free, i)
	p.flight -= s.messages
	p.bytes.Add(-s.size)
	if p.left() >= len(p.slots)/8 { // not for each: whoever waits has much to publish
		p.room.Broadcast()
	}
	p.mu.Unlock()
}

// Await waits until so many messages can be published without waiting, if nobody
// else publishes. There are never more than the window.
func (p *Publisher) Await(n int) {
	p.mu.Lock()
	p.await(n)
	p.mu.Unlock()
}

func (p *Publisher) await(n int) {
	for p.left() < n || p.full() {
		p.room.Wait()
	}
}

// left is how many messages more the window has room for.
func (p *Publisher) left() int { return len(p.slots) - p.flight }

// full tells whether so many bytes wait for their answers that nothing may be added.
func (p *Publisher) full() bool { return p.bytes.Load() >= publishBytes }

// tick is how often expire looks. To ask for the time of each message costs more.
const tick = time.Second

// expire fails what was never answered, for instance because the connection
// broke in between.
func (p *Publisher) expire() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			p.ticks++
			p.mu.Unlock()
			for i := range p.slots {
				p.mu.Lock()
				round, late := p.slots[i].round, p.slots[i].done != nil && p.ticks >= p.slots[i].late
				p.mu.Unlock()
				if late {
					p.finish(i, round, errNoAck)
				}
			}
		}
	}
}

// Abort fails everything that is not answered yet, whatever becomes of it, and
// all that follows.
func (p *Publisher) Abort() {
	p.mu.Lock()
	p.aborted = true
	p.mu.Unlock()
	for i := range p.slots {
		p.mu.Lock()
		round := p.slots[i].round
		p.mu.Unlock()
		p.finish(i, round, errAborted)
	}
}

// Close waits until everything is answered or has failed.
func (p *Publisher) Close() {
	p.Await(len(p.slots))
	close(p.stop)
	p.sub.Unsubscribe() //nolint:errcheck // the connection may be gone already
}
