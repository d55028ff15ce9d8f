package main

import (
	"context"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
)

// countEvents reads the stream of device events and holds it to what was
// acknowledged: each device ends with the name that it has, its creation comes
// first, no position and no change is there twice, and the positions only grow.
func (v *verdict) countEvents(ctx context.Context, w *world, l *load) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	c, err := w.js.OrderedConsumer(ctx, streams.Config{}.EndDeviceEvents().Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	it, err := c.Messages()
	if err != nil {
		return err
	}
	defer it.Stop()
	waiting := l.names() // of acknowledged devices whose last name did not come yet
	seen, created := map[string]bool{}, map[string]bool{}
	var last pglogrepl.LSN
	for left := uint64(1); len(waiting) > 0 || left > 0; {
		next, done := context.WithTimeout(ctx, 20*time.Second)
		msg, err := it.Next(jetstream.NextContext(next))
		done()
		if err != nil {
			break // what is still waited for is lost
		}
		v.events++
		about, err := msg.Metadata()
		if err != nil {
			return err
		}
		left = about.NumPending
		// A change has a time of its own: two events that say the same are one change, under
		// whatever ids. Only a snapshot may tell what was told before.
		id, operation := msg.Headers().Get(jetstream.MsgIDHeader), msg.Headers().Get(streams.OperationHeader)
		said := operation + string(msg.Data())
		if seen[id] || operation != streams.Snapshot && seen[said] {
			v.eventsDoubled++
		}
		seen[id], seen[said] = true, true
		at, err := pglogrepl.ParseLSN(msg.Headers().Get(streams.LSNHeader))
		if err != nil {
			return err
		}
		d := &enddevicev1.EndDevice{}
		if err := proto.Unmarshal(msg.Data(), d); err != nil {
			return err
		}
		if operation == streams.Insert || operation == streams.Snapshot {
			created[d.DeviceId] = true
		}
		if at < last || !created[d.DeviceId] {
			v.eventsLost++
		}
		last = max(last, at)
		if waiting[d.DeviceId] == d.Name {
			delete(waiting, d.DeviceId)
		}
	}
	v.eventsLost += len(waiting)
	return nil
}
