package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackTimeout is how long a transform's publish may stay unanswered before it counts as
// failed. A result that was stored nevertheless is not
// stored twice: it has the same Nats-Msg-Id.
const ackTimeout = 10 * time.Second

var (
	errNoAck    = errors.New("the stream did not acknowledge in time")
	errNoStream = errors.New("no stream takes this subject")
	errAborted  = errors.New("what was published before has failed")
)

// Publisher publishes to JetStream without waiting and calls back with each
// answer. What one goroutine publishes arrives in that order. It is jetstream.PublishAsync with one inbox and a ring of slots in
// place of a future for each message, which costs a third of the pipeline's
// time.
type Publisher struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	prefix  string
	timeout time.Duration
	free    chan int // slots that are free: the window
	stop    chan struct{}

	mu      sync.Mutex
	slots   []slot
	aborted bool
}

type slot struct {
	round    uint64 // tells a late answer from that of the slot's next use
	deadline time.Time
	done     func(error) // nil while the slot is free
}

// NewPublisher returns a publisher that lets so many messages wait for their
// answer at a time, each so long. Close it.
func NewPublisher(conn *nats.Conn, window int, timeout time.Duration) (*Publisher, error) {
	p := &Publisher{conn: conn, prefix: conn.NewInbox() + ".", timeout: timeout, free: make(chan int, window), stop: make(chan struct{}), slots: make([]slot, window)}
	for i := range window {
		p.free <- i
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
// waits while the window is full. done must not call it.
func (p *Publisher) Publish(m *nats.Msg, done func(error)) {
	i := <-p.free
	p.mu.Lock()
	s := &p.slots[i]
	s.round++
	s.deadline, s.done = time.Now().Add(p.timeout), done
	reply := make([]byte, 0, 64)
	reply = append(reply, p.prefix...)
	reply = strconv.AppendUint(reply, uint64(i), 36)
	reply = append(reply, '.')
	reply = strconv.AppendUint(reply, s.round, 36)
	round, aborted := s.round, p.aborted
	p.mu.Unlock()
	if aborted {
		p.finish(i, round, errAborted)
		return
	}
	m.Reply = string(reply)
	if err := p.conn.PublishMsg(m); err != nil {
		p.finish(i, round, err)
	}
}

// answered handles one acknowledgement.
func (p *Publisher) answered(m *nats.Msg) {
	first, second, _ := strings.Cut(m.Subject[len(p.prefix):], ".")
	i, err := strconv.ParseUint(first, 36, 32)
	if err != nil || i >= uint64(len(p.slots)) {
		return
	}
	round, err := strconv.ParseUint(second, 36, 64)
	if err != nil {
		return
	}
	p.finish(int(i), round, ackError(m))
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
	p.mu.Unlock()
	done(err)
	p.free <- i
}

// expire fails what was never answered, for instance because the connection
// broke in between.
func (p *Publisher) expire() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			for i := range p.slots {
				p.mu.Lock()
				round, late := p.slots[i].round, p.slots[i].done != nil && now.After(p.slots[i].deadline)
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
	for range cap(p.free) {
		<-p.free
	}
	close(p.stop)
	p.sub.Unsubscribe() //nolint:errcheck // the connection may be gone already
}

// ackError reads a PubAck: nil where the message is stored, now or before.
func ackError(m *nats.Msg) error {
	if bytes.HasPrefix(m.Data, []byte(`{"stream":`)) {
		return nil
	}
	if len(m.Data) == 0 {
		if m.Header.Get("Status") == "503" {
			return errNoStream
		}
		return fmt.Errorf("an empty acknowledgement (%s)", m.Header.Get("Description"))
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	return nil
}
