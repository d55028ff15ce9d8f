package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
)

// lease is an instance's sign of life: a key that expires unless it is renewed.
// What the instance owns, it owns as long as its lease lives.
//
// The server decides when a lease is over. The instance itself counts from
// before it asked, and so gives up no later than that.
type lease struct {
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	key      string
	value    []byte // when the instance joined
	ttl      time.Duration
	revision uint64
	until    atomic.Pointer[time.Time] // the local end of it
}

// joinedFormat is a time with digits that sort.
const joinedFormat = "2006-01-02T15:04:05.000000000Z"

// newLease takes the lease of an instance.
func newLease(ctx context.Context, js jetstream.JetStream, kv jetstream.KeyValue, instance string, ttl time.Duration) (*lease, error) {
	l := &lease{js: js, kv: kv, key: streams.InstanceLease(instance), value: []byte(time.Now().UTC().Format(joinedFormat)), ttl: ttl}
	// After a failure the last one may be alive still: it is ours all the same.
	e, err := kv.Get(ctx, l.key)
	switch {
	case err == nil:
		l.revision = e.Revision()
		return l, l.renew(ctx)
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, fmt.Errorf("lease: %w", err)
	}
	asked := time.Now()
	l.revision, err = kv.Create(ctx, l.key, l.value, jetstream.KeyTTL(ttl))
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	l.begin(asked)
	return l, nil
}

// renew begins the lease's time again, unless it has run out. A KeyValue's Update
// would make the key last for ever.
func (l *lease) renew(ctx context.Context) error {
	asked := time.Now()
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: streams.KeySubject(l.js, l.kv.Bucket(), l.key), Data: l.value},
		jetstream.WithMsgTTL(l.ttl), jetstream.WithExpectLastSequencePerSubject(l.revision))
	if err != nil {
		return fmt.Errorf("renew the lease: %w", err)
	}
	l.revision = ack.Sequence
	l.begin(asked)
	return nil
}

func (l *lease) begin(asked time.Time) { l.until.Store(new(asked.Add(l.ttl))) }

// alive goes by both clocks: the wall's may be set back, and the other stands still while
// a machine sleeps.
func (l *lease) alive() bool {
	now, until := time.Now(), l.until.Load()
	return until != nil && now.Before(*until) && now.Round(0).Before(until.Round(0))
}

// hold renews the lease until ctx is done. It returns when the lease is lost.
func (l *lease) hold(ctx context.Context) error {
	tick := time.NewTicker(l.ttl / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		attempt, cancel := context.WithTimeout(ctx, l.ttl/2)
		err := l.renew(attempt)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case !l.alive():
			if err == nil {
				err = errors.New("this process stood still since it was renewed")
			}
			return fmt.Errorf("the lease has run out: %w", err)
		case streams.Overtaken(err):
			// A renewal may have come through although its answer did not.
			if e, failed := l.current(ctx); failed != nil || e == 0 {
				return fmt.Errorf("the lease is lost: %w", err)
			} else if e > l.revision {
				l.revision = e
			}
		}
	}
}

// current is the key's revision; 0 where it is gone.
func (l *lease) current(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/2)
	defer cancel()
	e, err := l.kv.Get(ctx, l.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return e.Revision(), nil
}

// release ends the lease at once.
func (l *lease) release(ctx context.Context) error {
	return l.kv.Purge(ctx, l.key, jetstream.LastRevision(l.revision), jetstream.PurgeTTL(markerTTL))
}

// markerTTL is how long a key that is gone leaves a trace, for watchers that are
// away.
const markerTTL = time.Hour
