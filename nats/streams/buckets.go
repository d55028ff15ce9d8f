package streams

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// markerTTL is how long a bucket remembers that a key is gone: for watchers that
// were away meanwhile.
const markerTTL = time.Hour

// GatewayStates is what is known of each gateway: gateway id → GatewayState.
func (c Config) GatewayStates() jetstream.KeyValueConfig { return c.bucket("gateways", 256<<20) }

// Leases is who does what: keys that expire unless their owner renews them, and
// keys that are good for as long as their owner's.
func (c Config) Leases() jetstream.KeyValueConfig { return c.bucket("leases", 64<<20) }

// MQTTSessions is what a gateway's next owner must know of the messages that its
// last one received: gateway id → JSON.
func (c Config) MQTTSessions() jetstream.KeyValueConfig { return c.bucket("mqtt_sessions", 64<<20) }

func (c Config) bucket(name string, maxBytes int64) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: name, Storage: jetstream.FileStorage, Replicas: c.Replicas, History: 1,
		MaxBytes: maxBytes, LimitMarkerTTL: markerTTL,
	}
}

// InstanceLease is the key in Leases that an instance of mqtt-ingest keeps alive.
func InstanceLease(instance string) string { return "mqtt-ingest." + instance }

// GatewayLease is the key in Leases whose value is the instance that runs a
// gateway: as long as that one's own lease is alive.
func GatewayLease(gateway string) string { return "gateway." + gateway }

// Watch returns a watch of a bucket's keys below a pattern after f has seen all that is
// there, also what is deleted. s is the bucket's stream.
//
// A watch of nats.go says that it has brought all when it has brought as many as there
// were. But what is written again before its turn comes behind all others, and what else
// was written again may have taken its place in the count. So f sees all up to where the
// bucket ends then.
func Watch(ctx context.Context, s jetstream.Stream, kv jetstream.KeyValue, pattern string, f func(jetstream.KeyValueEntry)) (jetstream.KeyWatcher, error) {
	w, err := kv.Watch(ctx, pattern)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kv.Bucket(), err)
	}
	revision, end := uint64(0), uint64(math.MaxUint64)
	for revision < end && err == nil {
		select {
		case e, open := <-w.Updates():
			switch {
			case !open:
				err = errors.New("it has ended")
			case e == nil:
				end, err = last(ctx, s, kv.Bucket(), pattern)
			default:
				revision = e.Revision()
				f(e)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		w.Stop() //nolint:errcheck // it only reads
		return nil, fmt.Errorf("watch %s: %w", kv.Bucket(), err)
	}
	return w, nil
}

// last is the revision of what was written last below a pattern of keys, and is there
// still; 0 for nothing.
func last(ctx context.Context, s jetstream.Stream, bucket, pattern string) (uint64, error) {
	m, err := s.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+pattern)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

// Overtaken tells whether err says that somebody else has written meanwhile what was to be
// written over one revision, or over none. Where replicas are still at the other's writing,
// they say so with another code.
func Overtaken(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
