package config

import (
	"errors"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// refusals are the subscriptions that a connection does not have because its user may not.
// Where a server reads its configuration again, it takes away what is not allowed any more.
// When that is allowed again, it gives nothing back and tells nobody: who listens would be
// deaf for ever, and so would who waits for answers. So what was refused is tried from time
// to time, and when one is taken, the connection is made again, which subscribes to all.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex
	rounds map[subscription]int // in which each was refused last
	round  int
	trying bool
}

type subscription struct{ subject, queue string }

// How soon what was refused is tried again, twice as long after each time, and how many of
// them are: inboxes of those who try for themselves would pile up.
const (
	refusedLeast = time.Second
	refusedMost  = 30 * time.Second
	refusedMany  = 256
)

// refusedText is how the server says it; nats.go reads it so, too.
var refusedText = regexp.MustCompile(`Subscription to "(\S+)"(?: using queue "(\S+)")?`)

// note takes an error of the connection. It tells whether that says what is known already.
func (r *refusals) note(nc *nats.Conn, err error) (known bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	named := refusedText.FindStringSubmatch(err.Error())
	if named == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := subscription{named[1], named[2]}
	if _, known = r.rounds[s]; known || len(r.rounds) < refusedMany {
		r.rounds[s] = r.round
	}
	if !r.trying {
		r.trying = true
		go r.try(nc)
	}
	return known
}

// forget is for a connection that is lost: the next one subscribes to all.
func (r *refusals) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.rounds)
}

// try asks until nothing is refused any more.
func (r *refusals) try(nc *nats.Conn) {
	closed := nc.StatusChanged(nats.CLOSED)
	defer nc.RemoveStatusListener(closed)
	for wait := refusedLeast; ; wait = min(2*wait, refusedMost) {
		select {
		case <-closed:
			return
		case <-time.After(wait):
		}
		asked := r.next()
		if asked == nil {
			return
		}
		if ask(nc, asked) && r.taken() {
			r.log.Info("NATS takes a subscription that it has refused; connecting again, for all of them")
			nc.ForceReconnect() //nolint:errcheck // it is closed
		}
	}
}

// next begins a round, and returns what is to be asked for; nil for nothing, and then nobody
// tries any more.
func (r *refusals) next() (all []subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.round++
	for s := range r.rounds {
		all = append(all, s)
	}
	r.trying = all != nil
	return all
}

// ask subscribes to each for a moment, in which another instance may miss a request. It
// tells whether the server has got that.
func ask(nc *nats.Conn, all []subscription) bool {
	for _, s := range all {
		if sub, err := nc.QueueSubscribe(s.subject, s.queue, func(*nats.Msg) {}); err == nil {
			sub.Unsubscribe() //nolint:errcheck // the connection may be gone
		}
	}
	if nc.FlushTimeout(natsTimeout) != nil {
		return false
	}
	time.Sleep(refusedLeast) // what the server has said is told by another goroutine
	return true
}

// taken tells whether one was not refused in this round. Of a connection that was lost
// meanwhile nothing is known.
func (r *refusals) taken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, round := range r.rounds {
		if round < r.round {
			return true
		}
	}
	return false
}
