package convert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
)

// remains is how long the consumer of an instance that is gone stays, and of one that
// lost its connection: the client leaves its consumers to the server.
const remains = 30 * time.Second

// follow forgets what events say has changed. Every instance follows on its own,
// from now on, and starts with nothing remembered, also where it has lost its place. Now is
// a sequence: a consumer of what is new begins again with each connection until it has had
// an event, and nobody is told.
func (d *Devices) follow(js jetstream.JetStream, s streams.Stream, forget func([]byte)) func(context.Context) error {
	return func(ctx context.Context) error {
		stream, err := js.Stream(ctx, s.Name)
		if err != nil {
			return err
		}
		c, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: stream.CachedInfo().State.LastSeq + 1, InactiveThreshold: remains,
		})
		if err != nil {
			return err
		}
		lost := make(chan error, 1)
		cc, err := c.Consume(func(m jetstream.Msg) {
			forget(m.Data())
			runtime.InstanceOf(ctx).Handled(1)
		}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			d.forgetAll() // events may have been missed
			select {
			case lost <- err:
			default:
			}
		}))
		if err != nil {
			return err
		}
		defer cc.Stop()
		d.forgetAll() // from before the consumer
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			// It would go on where it was, and the stream may have begun again.
			return fmt.Errorf("events may have been missed: %w", err)
		case <-cc.Closed():
			return errors.New("the consumer was closed")
		}
	}
}

// deviceEvent forgets the device of an event; all, where the event names none or cannot be
// read.
func (d *Devices) deviceEvent(data []byte) {
	dev := &enddevicev1.EndDevice{}
	if proto.Unmarshal(data, dev) != nil || dev.DeviceId == "" {
		d.forgetAll()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookups.forget(dev.DeviceId) // what is being fetched of others is as good as before
	d.forget(dev.DeviceId)
	d.unknown.Remove(dev.DeviceId)
}

// organizationEvent forgets an organization and its devices; all, as deviceEvent does.
func (d *Devices) organizationEvent(data []byte) {
	org := &organizationv1.Organization{}
	if proto.Unmarshal(data, org) != nil || org.Id == "" {
		d.forgetAll()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	d.owners.Remove(org.Id)
	d.lookups.forgetAll()
	if t, ok := d.tenants[org.Id]; ok {
		t.changed = true
		delete(d.tenants, org.Id)
	}
}

func (d *Devices) forgetAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	d.lookups.forgetAll()
	clear(d.known)
	clear(d.tenants)
	d.unknown.Purge()
	d.owners.Purge()
}
