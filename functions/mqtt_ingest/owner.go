package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions/internal/broker"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// owner is an instance at work. Its maps belong to the goroutine of run.
type owner struct {
	me      string
	ctx     context.Context // of the source
	view    *view
	lease   *lease
	js      jetstream.JetStream
	states  jetstream.KeyValue
	leases  jetstream.KeyValue
	records jetstream.KeyValue
	out     *runtime.Publisher
	raw     streams.Stream
	dialer  *dialer

	running  atomic.Int64        // sessions
	sessions map[string]*session // by gateway: those that run, or are about to end
	giving   map[string]bool     // gateways that are being handed over
	ended    chan string         // gateways whose session has
	quit     chan struct{}       // closed when nobody listens to ended any more
	counted  time.Time           // when counts were reported
	refused  uint64              // messages that were not taken
	log      *slog.Logger
}

const (
	tickEvery     = 250 * time.Millisecond
	countEvery    = 3 * time.Second // how often what changes all the time is reported
	claimsAtATime = 64
	reportsATick  = 256
	askTimeout    = 2 * time.Second
)

// run follows the buckets and makes the sessions agree with them.
func (o *owner) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, o.close()) }()
	lost, stopHolding := o.hold(ctx)
	defer stopHolding()
	leases, err := o.watch(ctx, o.leases, o.view.lease)
	if err != nil {
		return err
	}
	defer leases.Stop() //nolint:errcheck // it only reads
	gateways, err := o.watch(ctx, o.states, func(e jetstream.KeyValueEntry) { o.learn(e) })
	if err != nil {
		return err
	}
	defer gateways.Stop() //nolint:errcheck // likewise
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	look := time.NewTicker(countEvery)
	defer look.Stop()
	more, changed := o.reconcile(), false
	for {
		changed = changed || more
		ticked := false
		atOnce := make(chan struct{})
		if more {
			close(atOnce)
		}
		select {
		case <-atOnce:
		case <-ctx.Done():
			return nil
		case err := <-lost:
			return err
		case e := <-leases.Updates():
			if e == nil {
				return errors.New("the watch of the leases has ended")
			}
			o.view.lease(e)
			changed = true
		case e := <-gateways.Updates():
			if e == nil {
				return errors.New("the watch of the gateways has ended")
			}
			changed = o.learn(e) || changed
		case gateway := <-o.ended:
			o.tell(o.sessions[gateway])
			delete(o.sessions, gateway)
			changed = true
		case <-tick.C:
			o.report()
			ticked = true
		case <-look.C:
			if err := o.look(ctx); err != nil {
				return err
			}
		}
		// Who has a thousand gateways does not look at all of them for each of a thousand news.
		if ticked || changed && len(leases.Updates()) == 0 && len(gateways.Updates()) == 0 {
			more, changed = o.reconcile(), false
		}
	}
}

// look fails where the bucket of records is gone, without which no session begins. The
// leases would be missed by their renewal.
func (o *owner) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := o.js.Stream(ctx, "KV_"+o.records.Bucket()); errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("bucket %s: %w", o.records.Bucket(), err)
	}
	return nil
}

// learn takes an entry of the bucket of gateways, and tells whether it changes what is to
// be done. One that cannot be read must not keep the others from being served.
func (o *owner) learn(e jetstream.KeyValueEntry) bool {
	changed, err := o.view.gateway(e)
	if err != nil {
		o.log.Warn("a gateway's state cannot be read; what was known of it stays", "gateway", e.Key(), "error", err)
	}
	o.remind(e.Key())
	return changed
}

// remind has a session report again where its gateway's state does not tell of it: somebody
// has taken that away or written over it, and an event has brought no more than the gateway.
func (o *owner) remind(id string) {
	s := o.sessions[id]
	if known, there := o.view.state(id); there && s != nil && !s.stopping && known.state.Owner == "" {
		s.status.again()
	}
}

// hold keeps the lease alive until stop is called, which waits for its end.
func (o *owner) hold(ctx context.Context) (lost <-chan error, stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	failed, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		failed <- o.lease.hold(ctx)
	}()
	return failed, func() {
		cancel()
		<-ended
	}
}

// watch returns a watch of the whole bucket after f has seen what is in it.
func (o *owner) watch(ctx context.Context, kv jetstream.KeyValue, f func(jetstream.KeyValueEntry)) (jetstream.KeyWatcher, error) {
	stream, err := o.js.Stream(ctx, "KV_"+kv.Bucket())
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kv.Bucket(), err)
	}
	return streams.Watch(ctx, stream, kv, ">", f)
}

// reconcile makes claims and sessions agree with the view. It tells whether there
// is more to do at once.
func (o *owner) reconcile() (more bool) {
	for id, s := range o.sessions {
		known, there := o.view.state(id)
		switch {
		case !there:
			s.stop(true)
		case s.stopping: // the gateway may be another since
			s.forget.Store(!s.staysAt(known.state.Gateway))
		case !s.serves(known.state.Gateway):
			s.stop(!s.staysAt(known.state.Gateway))
		case o.giving[id], o.view.claimOf(id).owner != o.me:
			s.stop(false)
		}
	}
	share := o.view.share(o.me)
	for _, id := range share.stale {
		delete(o.giving, id)
		if o.sessions[id] == nil && o.drop(id) {
			o.forget(id)
		}
	}
	have := 0
	for _, id := range share.mine {
		if !o.giving[id] {
			have++
		}
	}
	for i := len(share.mine) - 1; i >= 0 && have > share.quota; i-- {
		if id := share.mine[i]; !o.giving[id] {
			o.giving[id] = true
			have--
			more = true
		}
	}
	tried := 0
	for _, id := range share.free {
		if have >= share.quota {
			break
		}
		if tried++; tried > claimsAtATime {
			more = true
			break
		}
		if o.claim(id) {
			have++
			share.mine = append(share.mine, id)
		}
	}
	for _, id := range share.mine {
		switch {
		case o.sessions[id] != nil:
		case o.giving[id]:
			o.drop(id)
			delete(o.giving, id)
		default:
			o.start(id)
		}
	}
	return more
}

// start runs a gateway's session.
func (o *owner) start(id string) {
	known, there := o.view.state(id)
	if !there {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(o.ctx))
	s := &session{
		gateway: known.state.Gateway, dialer: o.dialer, raw: o.raw, out: o.out, owned: o.lease.alive, status: &status{}, sharing: &o.running,
		ids: &identity{kv: o.records, gateway: id}, cancel: cancel, done: make(chan struct{}),
	}
	s.broker, s.badURL = broker.Parse(known.state.Gateway.GetEmqxConfig().GetBrokerUrl())
	s.ids.broker = s.broker.Address
	o.sessions[id] = s
	o.running.Add(1)
	go func() {
		defer cancel()
		s.run(ctx)
		o.running.Add(-1)
		select {
		case o.ended <- id:
		case <-o.quit:
		}
	}()
}

// serves tells whether the session is that of the gateway as it is now.
func (s *session) serves(g *pb.Gateway) bool {
	return s.gateway.GetEmqxConfig().GetBrokerUrl() == g.GetEmqxConfig().GetBrokerUrl() && s.gateway.OrganizationId == g.OrganizationId
}

// staysAt tells whether the gateway's broker is the one of the session: then the
// session there goes on, with what waits in it, under another password, say.
func (s *session) staysAt(g *pb.Gateway) bool {
	b, err := broker.Parse(g.GetEmqxConfig().GetBrokerUrl())
	return err == nil && b.Address == s.broker.Address && s.gateway.OrganizationId == g.OrganizationId
}

// close ends every session and then the lease: the others take over what it held.
func (o *owner) close() error {
	close(o.quit)
	for _, s := range o.sessions {
		if !s.stopping {
			s.stop(false)
		}
	}
	for _, s := range o.sessions {
		<-s.done
	}
	o.report()
	if !o.lease.alive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.ctx), askTimeout)
	defer cancel()
	return o.lease.release(ctx)
}
