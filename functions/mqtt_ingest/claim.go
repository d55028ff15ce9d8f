package mqttingest

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
)

// claim makes a gateway ours, unless somebody else was faster.
func (o *owner) claim(id string) bool {
	ctx, cancel := context.WithTimeout(o.ctx, askTimeout)
	defer cancel()
	if !o.lease.alive() {
		return false
	}
	old := o.view.claimOf(id)
	var revision uint64
	var err error
	if old.owner == "" {
		revision, err = o.leases.Create(ctx, streams.GatewayLease(id), []byte(o.me))
	} else {
		revision, err = o.leases.Update(ctx, streams.GatewayLease(id), []byte(o.me), old.revision)
	}
	if err != nil {
		o.complain("claim", id, err)
		return false
	}
	o.view.claimed(id, claim{o.me, revision})
	return true
}

// drop lets somebody else have a gateway. False means that somebody else has it: it may
// be there again, of which the view does not know yet.
func (o *owner) drop(id string) bool {
	ctx, cancel := context.WithTimeout(o.ctx, askTimeout)
	defer cancel()
	c := o.view.claimOf(id)
	err := o.leases.Purge(ctx, streams.GatewayLease(id), jetstream.LastRevision(c.revision), jetstream.PurgeTTL(markerTTL))
	o.complain("drop", id, err)
	if err == nil {
		o.view.claimed(id, claim{revision: c.revision + 1}) // the marker has a revision that is no lower
	}
	return !streams.Overtaken(err)
}

// forget removes what the owners of a gateway that is gone have noted.
func (o *owner) forget(id string) {
	ctx, cancel := context.WithTimeout(o.ctx, askTimeout)
	defer cancel()
	o.complain("forget", id, o.records.Purge(ctx, id, jetstream.PurgeTTL(markerTTL)))
}

// complain logs what will be tried again.
func (o *owner) complain(what, id string, err error) {
	if err == nil || streams.Overtaken(err) || o.ctx.Err() != nil {
		return
	}
	o.log.Warn("leases", "action", what, "gateway", id, "error", err)
}
