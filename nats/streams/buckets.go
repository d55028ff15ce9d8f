package streams

import (
	"context"
	"errors"
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

// End is the revision of what was written last below a pattern of a bucket's keys, and is
// there still; 0 for nothing. s is the bucket's stream.
func End(ctx context.Context, s jetstream.Stream, bucket, pattern string) (uint64, error) {
	m, err := s.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+pattern)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}
