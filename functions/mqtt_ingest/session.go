package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/functions/internal/broker"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// settled is how long a connection has to last to count as a success.
const settled = 10 * time.Second

// drainTimeout is how long a session that ends waits for what is under way.
const drainTimeout = 1500 * time.Millisecond

// session is the life of one gateway on the instance that owns it: connected, or
// on the way to be again.
type session struct {
	gateway *pb.Gateway
	broker  broker.Broker
	badURL  error
	dialer  *dialer
	raw     streams.Stream
	out     *runtime.Publisher
	ids     *identity
	owned   func() bool // whether the instance's lease is alive
	status  *status
	sharing *atomic.Int64 // gateways of the instance

	cancel context.CancelFunc
	forget atomic.Bool // before cancel, or while it ends
	done   chan struct{}
	hungUp bool // the broker, when it was asked for everything
	doubts bool // whether what the broker has kept is still subscribed to

	stopping bool // for its owner, as told
	told     told
}

// clientID is the gateway's alone, and not its owner's: the next owner takes over
// what the broker keeps for it. That two owners do not push each other out is
// for the lease to see to.
func (s *session) clientID() string { return "ponix-" + s.gateway.GatewayId }

// stop ends the session; done is closed when it has ended. To forget is for a
// broker that will not be needed again.
func (s *session) stop(forget bool) {
	if forget {
		s.forget.Store(true)
	}
	s.stopping = true
	s.cancel()
}

// run stays connected until ctx is done.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	defer s.status.stopped()
	if s.badURL != nil {
		s.status.disconnected(s.badURL.Error())
		<-ctx.Done()
		return
	}
	for attempt := 1; ctx.Err() == nil; attempt++ {
		s.status.connecting()
		l, err := s.connect(ctx)
		if err == nil {
			began := time.Now()
			s.status.connected()
			err = s.stay(ctx, l)
			if time.Since(began) > settled {
				attempt = 1
			}
		}
		if ctx.Err() != nil {
			return
		}
		s.doubts = s.doubts || byRights(err)
		s.status.disconnected(s.broker.Clean(err.Error()))
		select {
		case <-ctx.Done():
		case <-time.After(backoff(attempt, brokerDelay)):
		}
	}
}

// How long an attempt to reach a broker, or to reach JetStream, waits at most.
const (
	brokerDelay    = 30 * time.Second
	jetStreamDelay = 4 * time.Second
)

// backoff is the delay before a further attempt: half a second doubled with each
// up to most, with jitter.
func backoff(attempt int, most time.Duration) time.Duration {
	d := min(500*time.Millisecond<<min(max(attempt-1, 0), 10), most)
	return d/2 + rand.N(d/2)
}

// errNotOwned comes before another instance can own the gateway.
var errNotOwned = errors.New("the instance's lease has run out")

// connect opens a link and subscribes, in the version that the broker speaks.
func (s *session) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if !s.owned() {
		return nil, errNotOwned
	}
	l := newLink(s.sharing)
	resumed, err := s.connect5(ctx, l)
	if errors.Is(err, errOlder) {
		before := err
		l = newLink(s.sharing)
		if resumed, err = s.connect3(ctx, l); err != nil {
			err = fmt.Errorf("%w; in MQTT 3.1.1: %w", before, err)
		}
	}
	if err != nil {
		l.fail(err)
		return nil, err
	}
	if err := s.prepare(ctx, l, resumed); err != nil {
		l.fail(err)
		l.close(false)
		return nil, err
	}
	return l, nil
}

// stay waits until the link is gone, or ends it.
func (s *session) stay(ctx context.Context, l *link) error {
	select {
	case <-l.done:
	case <-ctx.Done():
		l.drain(drainTimeout)
		l.fail(ctx.Err())
	}
	l.close(ctx.Err() != nil && s.forget.Load() && s.unsubscribed(ctx))
	return l.err
}

// receive handles a message: it is on its way to JetStream on return. It waits
// while too many are.
func (s *session) receive(l *link, m message, ack func()) {
	size := l.held.take()
	select {
	case <-l.ready:
	case <-l.done:
		return
	}
	if l.draining.Load() || l.gone() {
		return
	}
	if !s.owned() { // it was stopped, and goes on with what another instance has by now
		l.fail(errNotOwned)
		return
	}
	s.status.received(m.received)
	var id string // of the envelope, if it becomes one
	d := &delivery{stored: make(chan struct{}), ack: func() {
		if id != "" {
			s.ids.acknowledged(m.packet, id)
		}
		ack()
		l.held.give(size)
	}}
	device, why := m.check(s.gateway.OrganizationId)
	var out *nats.Msg
	if why == accepted {
		var err error
		if id, err = s.identify(l, m); err == nil {
			out, err = m.envelope(s.raw, s.gateway.OrganizationId, device, id)
		}
		if err != nil {
			l.fail(err)
			return
		}
	} else {
		s.status.rejected(why)
		close(d.stored)
	}
	select {
	case l.queue <- d:
	case <-l.done:
		return
	}
	if out != nil {
		s.publish(l, out, d, 1)
	}
}

// identify waits until the message's id is known, which may have to be written.
func (s *session) identify(l *link, m message) (string, error) {
	for attempt := 1; ; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		id, err := s.ids.of(ctx, m)
		cancel()
		if err == nil || errors.Is(err, errOtherOwner) || attempt > 3 || l.gone() {
			return id, err
		}
		s.status.failed(err.Error())
		select {
		case <-l.done:
			return "", err
		case <-time.After(backoff(attempt, jetStreamDelay)):
		}
	}
}

// publish sends an envelope until it is stored, or the link gone: then the broker
// sends its message again. An instance that was stopped between two attempts may go on long
// after another has stored it.
func (s *session) publish(l *link, out *nats.Msg, d *delivery, attempt int) {
	if l.gone() {
		return
	}
	if !s.owned() {
		l.fail(errNotOwned)
		return
	}
	s.out.Publish(out, func(err error) {
		switch {
		case errors.Is(err, nats.ErrMaxPayload):
			s.status.rejected(tooLargeForNATS)
			close(d.stored)
		case err != nil && l.gone(): // the state is about the next link by now
		case err != nil:
			s.status.failed(err.Error())
			time.AfterFunc(backoff(attempt, jetStreamDelay), func() { s.publish(l, out, d, attempt+1) })
		default:
			s.status.stored()
			close(d.stored)
		}
	})
}
