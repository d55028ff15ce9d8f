package cdc

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
)

// progress knows up to where everything is on the streams.
type progress struct {
	sent      atomic.Uint64 // published
	events    atomic.Uint64 // of these, acknowledged
	lastEvent atomic.Int64  // when, in nanoseconds

	mu   sync.Mutex
	open []*transaction // those that are not known to be on the streams, oldest first
	safe pglogrepl.LSN
}

// transaction is one whose events are being published.
type transaction struct {
	committed time.Time
	missing   atomic.Int64 // events without acknowledgement, and 1 until the last was sent
	end       pglogrepl.LSN
}

// begin adds a transaction.
func (p *progress) begin(committed time.Time) *transaction {
	t := &transaction{committed: committed}
	t.missing.Store(1)
	p.mu.Lock()
	p.open = append(p.open, t)
	p.mu.Unlock()
	return t
}

// commit says where the transaction ends: no event of it follows.
func (p *progress) commit(t *transaction, end pglogrepl.LSN) {
	p.mu.Lock()
	t.end = end
	p.mu.Unlock()
	t.missing.Add(-1)
}

// backlog is how many events must be on their way for us to be behind.
const backlog = 64

func (p *progress) behind() bool { return p.sent.Load()-p.events.Load() > backlog }

// acknowledged counts events, of each of these transactions one, that their stream has.
func (p *progress) acknowledged(all []*transaction) {
	p.events.Add(uint64(len(all)))
	p.lastEvent.Store(time.Now().UnixNano())
	for _, t := range all {
		t.missing.Add(-1)
	}
}

// reached says that every transaction which ended before lsn has been sent to us.
func (p *progress) reached(lsn pglogrepl.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	if n := len(p.open); n == 0 {
		p.safe = max(p.safe, lsn)
	} else if last := p.open[n-1]; last.end != 0 { // between transactions
		last.end = max(last.end, lsn)
	}
}

// settle removes the transactions that are on the streams.
func (p *progress) settle() {
	n := 0
	for n < len(p.open) && p.open[n].missing.Load() == 0 {
		p.safe = max(p.safe, p.open[n].end)
		p.open[n] = nil
		n++
	}
	p.open = p.open[n:]
}

// confirmable is the position before which every event is on the streams, and
// the commit of the oldest transaction that is not, if there is one.
func (p *progress) confirmable() (lsn pglogrepl.LSN, waiting time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	if len(p.open) > 0 {
		waiting = p.open[0].committed
	}
	return p.safe, waiting
}
