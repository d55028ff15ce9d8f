// Package streams holds Ponix's JetStream streams, their durable consumers and
// its key-value buckets as data, and makes a server agree with them.
//
// A stream never discards what its consumers have not settled: when it is full
// it refuses new messages. What is settled stays for a replay window and is
// then purged (see runtime, retention.go).
package streams

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is what an operator may change. Its zero value is not usable; the
// defaults stand in the tags.
type Config struct {
	Domain       string        `name:"nats-jetstream-domain" help:"JetStream domain that the streams are in, where it is not that of the NATS server: for a leaf node with a JetStream of its own."`
	Raw          string        `name:"nats-raw-stream" default:"raw_envelopes" help:"Stream of raw envelopes; its subjects start with its name."`
	Processed    string        `name:"processed-envelopes-stream" default:"processed_envelopes" help:"Stream of processed envelopes; its subjects start with its name."`
	Gateways     string        `name:"nats-gateway-stream" default:"gateways" help:"Stream of gateway events."`
	Replicas     int           `name:"nats-replicas" default:"1" enum:"1,3,5" help:"Replicas of each stream and bucket: ${enum}. Those that have more keep them."`
	MaxBytes     int64         `name:"nats-stream-max-bytes" default:"2147483648" help:"Bytes that each of the two envelope streams holds before it refuses new messages."`
	LetterBytes  int64         `name:"nats-dead-letters-max-bytes" default:"1073741824" help:"Bytes of dead letters that are kept."`
	LetterFull   string        `name:"nats-dead-letters-discard" default:"new" enum:"new,old" help:"What gives way where dead letters have all their bytes: ${enum}. new: bad messages wait in the streams of envelopes, which fill up, in the end for all tenants. old: the oldest letters are lost."`
	AckWait      time.Duration `name:"nats-ack-wait" default:"30s" help:"How long a message may be worked on before another instance gets it: after an instance was killed, what it had in hand waits this long."`
	AckPending   int           `name:"nats-max-ack-pending" help:"Messages of a consumer that may be delivered and not settled, for an account that allows no more; 0: 200000 of convert, for which those of devices that are not known yet count, and 50000 of store."`
	OwnSubject   bool          `name:"nats-own-subject" help:"Take a raw envelope only from the subject of its own organization and device. With NATS users that may publish to their own subject alone, nobody sends for another."`
	Atomic       bool          `name:"nats-atomic-batches" help:"Publish what is converted and what comes by MQTT in atomic batches: a NATS server with sync_interval always calls fsync once for a batch and not for each message, and replicas agree once."`
	ReplayWindow time.Duration `name:"nats-replay-window" default:"24h" help:"How long a settled message is kept, as far as half of the stream's bytes allow."`
}

// Stream is a stream with its durable consumers.
type Stream struct {
	jetstream.StreamConfig
	Consumers []jetstream.ConsumerConfig
	Window    time.Duration // how long messages stay that its consumers have settled
}

// Subject is a subject of the stream: its name, then the tokens.
func (s Stream) Subject(tokens ...string) string {
	n := len(s.Name)
	for _, t := range tokens {
		n += 1 + len(t)
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteString(s.Name)
	for _, t := range tokens {
		b.WriteByte('.')
		b.WriteString(t)
	}
	return b.String()
}

// JetStream is the one that the streams are in.
func (c Config) JetStream(nc *nats.Conn, opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if c.Domain == "" {
		return jetstream.New(nc, opts...)
	}
	return jetstream.NewWithDomain(nc, c.Domain, opts...)
}

// API is what the subjects of requests to a JetStream start with.
func API(js jetstream.JetStream) string {
	if domain := js.Options().Domain; domain != "" {
		return "$JS." + domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}

// KeySubject is what a key of a bucket is written on: that of its stream, which from another
// domain is reached like a request.
func KeySubject(js jetstream.JetStream, bucket, key string) string {
	subject := "$KV." + bucket + "." + key
	if api := API(js); api != jetstream.DefaultAPIPrefix {
		return api + subject
	}
	return subject
}

// The durable consumers.
const (
	Convert      = "convert"       // of raw envelopes
	Store        = "store"         // of processed envelopes
	GatewayState = "gateway-state" // of gateway events
)

// RawEnvelopes is what devices sent, on <name>.<organization_id>.<device_id>.
// Any subject below the name is accepted: the payload carries the ids. What waits for
// a device that is not known yet counts as delivered: many of those may wait, so that
// they do not keep the others out.
func (c Config) RawEnvelopes() Stream {
	return c.stream(c.Raw, c.MaxBytes, c.durable(Convert, 200_000))
}

// ProcessedEnvelopes is what payloads were converted to, on
// <name>.<organization_id>.<end_device_id>.
func (c Config) ProcessedEnvelopes() Stream {
	return c.stream(c.Processed, c.MaxBytes, c.durable(Store, 50_000))
}

// DeadLetters is every message that could not be handled, on
// dead_letters.<function>.<reason>, for 30 days.
func (c Config) DeadLetters() Stream {
	s := c.stream("dead_letters", c.LetterBytes)
	s.Window, s.MaxAge = 0, 30*24*time.Hour
	if c.LetterFull == "old" {
		s.Discard = jetstream.DiscardOld
	}
	return s
}

func (c Config) stream(name string, maxBytes int64, consumers ...jetstream.ConsumerConfig) Stream {
	return Stream{
		StreamConfig: jetstream.StreamConfig{
			Name:               name,
			Subjects:           []string{name + ".>"},
			Storage:            jetstream.FileStorage,
			Replicas:           c.Replicas,
			MaxBytes:           maxBytes,
			Discard:            jetstream.DiscardNew,
			Duplicates:         2 * time.Minute,
			AllowDirect:        true,
			AllowAtomicPublish: true,
		},
		Consumers: consumers,
		Window:    c.ReplayWindow,
	}
}

func (c Config) durable(name string, pending int) jetstream.ConsumerConfig {
	if c.AckPending > 0 {
		pending = min(pending, c.AckPending)
	}
	return jetstream.ConsumerConfig{
		Durable:       name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       c.AckWait,
		MaxAckPending: pending,
		MaxDeliver:    -1,
		Replicas:      c.Replicas,
	}
}
