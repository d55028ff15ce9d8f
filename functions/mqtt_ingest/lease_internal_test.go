package mqttingest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/runtimetest"
)

// TestLeaseRunsOut holds that the lease of an instance that died is no more when its time is over,
// whether it was renewed or not; and that the instance, should it go on, does not rely on it.
func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	o := working(t)
	once, renewed := takeLease(t, o, "once", time.Second), takeLease(t, o, "renewed", time.Second)
	if err := renewed.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*lease{once, renewed} {
		runtimetest.Eventually(t, 10*time.Second, func() error {
			alive := l.alive() // before the server is asked
			if revision, err := l.current(t.Context()); err != nil || revision > 0 {
				return errors.Join(errors.New("the lease is there"), err)
			}
			if alive {
				t.Errorf("%s is over, and its owner does not know", l.key)
			}
			return nil
		})
		if err := l.renew(t.Context()); !streams.Overtaken(err) {
			t.Errorf("%s is renewed when it is over: %v", l.key, err)
		}
	}
}

func takeLease(t *testing.T, o *owner, instance string, ttl time.Duration) *lease {
	t.Helper()
	l, err := newLease(t.Context(), o.js, o.leases, instance, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLeaseIsTakenAgain has an instance fail, and begin again before its lease is over.
func TestLeaseIsTakenAgain(t *testing.T) {
	t.Parallel()
	o := working(t)
	l := takeLease(t, o, o.me, time.Hour)
	if revision, err := l.current(t.Context()); err != nil || !l.alive() || l.revision != revision || revision <= o.lease.revision {
		t.Errorf("alive: %v, revision %d, the bucket has %d, %v", l.alive(), l.revision, revision, err)
	}
}

// answers is JetStream for a lease, and bucket the bucket, by what they answer.
type answers struct {
	jetstream.JetStream
	publish func() (*jetstream.PubAck, error)
}

func (a answers) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return a.publish()
}

func (answers) Options() (o jetstream.JetStreamOptions) { return o }

type bucket struct {
	jetstream.KeyValue
	revision uint64 // 0: there is no key
	takes    time.Duration
}

func (b bucket) Bucket() string { return "leases" }

func (b bucket) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	if b.revision == 0 {
		return nil, jetstream.ErrKeyNotFound
	}
	return entry{revision: b.revision}, nil
}

func (b bucket) Create(context.Context, string, []byte, ...jetstream.KVCreateOpt) (uint64, error) {
	time.Sleep(b.takes)
	return 1, nil
}

// TestLeaseCountsFromTheQuestion holds that an instance does not rely on its lease for longer than
// the server does, however late that answers.
func TestLeaseCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := answers{publish: func() (*jetstream.PubAck, error) {
			time.Sleep(time.Second)
			return &jetstream.PubAck{Sequence: 2}, nil
		}}
		asked := time.Now()
		l, err := newLease(t.Context(), slow, bucket{takes: time.Second}, "me", time.Minute)
		if err != nil || !l.until.Load().Equal(asked.Add(time.Minute)) {
			t.Fatalf("it begins with %v, %v", l.until.Load().Sub(asked), err)
		}
		asked = time.Now()
		if err := l.renew(t.Context()); err != nil || !l.until.Load().Equal(asked.Add(time.Minute)) {
			t.Errorf("it goes on with %v, %v", l.until.Load().Sub(asked), err)
		}
	})
}

// TestHold holds that a lease is given up when its time is over, and at once where it is no more,
// but goes on after a renewal that came through although its answer did not.
func TestHold(t *testing.T) {
	t.Parallel()
	const ttl = time.Minute
	overtaken := &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}
	for name, tt := range map[string]struct {
		publish     func(n int, revision uint64) error // the n-th time
		revision    uint64
		least, most time.Duration
	}{
		"nobody answers": {func(int, uint64) error { return nats.ErrTimeout }, 1, ttl, ttl + ttl/4},
		"it is no more":  {func(int, uint64) error { return overtaken }, 0, 0, ttl / 2},
		"it is renewed":  {func(int, uint64) error { return nil }, 1, time.Hour, time.Hour},
		"a lost answer":  {lostAnswer(overtaken), 2, time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := &lease{kv: bucket{revision: tt.revision}, ttl: ttl, revision: 1}, 0
				l.js = answers{publish: func() (*jetstream.PubAck, error) {
					n++
					return &jetstream.PubAck{Sequence: l.revision}, tt.publish(n, l.revision)
				}}
				began := time.Now()
				l.begin(began)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := l.hold(ctx)
				if took := time.Since(began); took < tt.least || took > tt.most || (err == nil) != (tt.least == time.Hour) {
					t.Errorf("it was held for %v, %v", took, err)
				}
			})
		})
	}
}

// lostAnswer is a server that has taken the first renewal, of which nobody was told.
func lostAnswer(overtaken error) func(int, uint64) error {
	return func(n int, revision uint64) error {
		switch {
		case n == 1:
			return nats.ErrTimeout
		case revision != 2:
			return overtaken
		}
		return nil
	}
}
