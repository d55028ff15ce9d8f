// Package cdc is change data capture: it tails a logical replication slot of
// PostgreSQL and publishes what happens to organizations, end devices and
// gateways as events, each the message of its entity, to a stream per entity.
//
// Any number of instances may run. The one that holds an advisory lock in
// PostgreSQL, on the very connection that it reads the slot by, is the owner; the
// others look at it twice a second. No clock has a part in it.
//
// Each event is on its stream once, in the order of the commits, whoever is
// killed meanwhile. PostgreSQL sends again what was not confirmed, and only what
// is acknowledged is confirmed; each event has a position that never changes; the
// owner skips what is not after the last event of the stream; and each message
// names the sequence that the stream must have reached, so that nothing gets in
// between, not even from an owner that does not know yet that it is none any more.
// See outlet.
//
// A slot begins with a snapshot of the tables. Whenever it cannot be trusted to
// have every change since (see slot.gap), it is dropped and made again, with a
// fresh snapshot. The ids of its events then begin with another generation; a row
// that this snapshot does not have was removed while the slot was lost, which an event
// at its end is there to tell.
//
// The user of PostgreSQL needs the attribute REPLICATION and SELECT on the tables, and has
// to own them, with CREATE on the database, where it is to make the publication. wal_level
// must be logical.
package cdc

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	cdcv1 "ponix/proto/ponix/cdc/v1"
	"ponix/runtime"
)

// New returns the function. It answers CdcService, and tails the slot. Its
// replication connection goes where the pool's connections go.
func New(db *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, s streams.Config, config Config) runtime.Function {
	c := &capture{Config: config, db: db, nc: nc, js: js, entities: entities(s), keeper: keeper{js, s.CaptureState(), config.Slot}}
	var publishes []streams.Stream
	for _, e := range c.entities {
		publishes = append(publishes, e.stream)
	}
	return runtime.Func("cdc",
		runtime.Endpoint(cdcv1.CdcService_GetCdcStatus_FullMethodName, c.status),
		runtime.Source("slot", c.run, publishes...)).
		Described("change data capture: what changes in PostgreSQL, as events").
		Keeping(s.CaptureState())
}

type capture struct {
	Config
	db       *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	entities []*entity
	keeper   keeper
	failures int // in a row, of the source
}
