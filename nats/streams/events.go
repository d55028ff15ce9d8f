package streams

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Headers of the events that tell of changes in PostgreSQL. Nats-Msg-Id is the
// event's position, and unique: <generation>.<timeline>-<LSN>-<index>. A new
// generation begins with a snapshot, since changes may have been missed before it;
// what that does not have is there no more.
const (
	LSNHeader        = "Ponix-Lsn"         // of the commit, as 0/16B3748; of a snapshot: the moment that it shows
	CommitTimeHeader = "Ponix-Commit-Time" // RFC 3339; of a snapshot: when it was taken
	OperationHeader  = "Ponix-Operation"   // one of those below
	SinceHeader      = "Ponix-Since"       // of the end of a snapshot: the sequence in the stream from which on it is
)

// What PostgreSQL did to the row.
const (
	Insert   = "insert"   // <stream>.create with the row
	Snapshot = "snapshot" // <stream>.create with a row that was there before
	Complete = "complete" // <stream>.update with an empty message: a snapshot ends, and a row that nothing has told of since it began is gone
	Update   = "update"   // <stream>.update with the row as it is now; a soft delete is one
	Delete   = "delete"   // <stream>.delete with the row as it was
	Truncate = "truncate" // <stream>.delete with an empty message: every row is gone
)

// The last tokens of the events' subjects.
const (
	Created = "create"
	Updated = "update"
	Deleted = "delete"
)

// eventsAge is how long events stay that no durable consumer waits for.
const eventsAge = 7 * 24 * time.Hour

// GatewayEvents is what happened to gateways, on <name>.create, .update and
// .delete; the payload is the Gateway. The instances of gateway-state take the
// events one at a time, since a state is what its last event says; so an event
// that an instance was killed with holds up all others, and waits for a short time
// only. An instance that goes on after that changes nothing (see functions/gateway_state).
func (c Config) GatewayEvents() Stream {
	one := c.durable(GatewayState, 1)
	one.AckWait = min(one.AckWait, gatewayAckWait)
	return c.events(c.Gateways, one)
}

const gatewayAckWait = 3 * time.Second

// EndDeviceEvents is the same of end devices.
func (c Config) EndDeviceEvents() Stream { return c.events("end_devices") }

// OrganizationEvents is the same of organizations.
func (c Config) OrganizationEvents() Stream { return c.events("organizations") }

// events is a stream that has one writer. While it has no durable consumer
// nothing ever settles its events, so the oldest make room: a stream that refused
// them would stop every entity's events, and let PostgreSQL's disk fill up with
// the log that waits for it. With a consumer it is like the streams of envelopes.
func (c Config) events(name string, consumers ...jetstream.ConsumerConfig) Stream {
	s := c.stream(name, 1<<30, consumers...)
	if len(consumers) == 0 {
		s.Window, s.MaxAge, s.Discard = 0, eventsAge, jetstream.DiscardOld
	}
	return s
}

// CaptureState is the bucket in which change data capture keeps how far it is.
func (c Config) CaptureState() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: "cdc", Storage: jetstream.FileStorage, Replicas: c.Replicas, History: 1, MaxBytes: 16 << 20}
}
