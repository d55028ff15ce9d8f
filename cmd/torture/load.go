package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
)

// load is what goes on while things break.
type load struct {
	w            *world
	organization string
	device       string
	prefix       string
	mqtt         *mqttLoad
	readers      *readers
	herd         *herd
	cancel       context.CancelFunc
	running      sync.WaitGroup
	next         atomic.Uint64
	acked        atomic.Uint64
	rows         atomic.Uint64

	mu       sync.Mutex
	devices  map[string]string // names of acknowledged devices, by id
	received []time.Time       // of envelope n, at n, as its device says
	acks     []time.Time       // likewise
	gaps     []gap
}

// gap is a time without a new row.
type gap struct{ from, to time.Time }

// senders is how many envelopes are on their way at once.
const senders = 64

func startLoad(ctx context.Context, w *world, o options) (*load, error) {
	l := &load{w: w, mqtt: &mqttLoad{}, prefix: "torture-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-", devices: map[string]string{}}
	l.readers = &readers{l: l}
	if err := l.prepare(ctx, o.MQTT); err != nil {
		return nil, err
	}
	ctx, l.cancel = context.WithCancel(ctx)
	tickets := make(chan struct{}, senders)
	l.running.Go(func() {
		defer close(tickets)
		for owed := 0.0; ctx.Err() == nil; {
			for owed += float64(o.Rate) / 20; owed >= 1; owed-- {
				select {
				case tickets <- struct{}{}:
				case <-ctx.Done():
				}
			}
			if wait(ctx, 50*time.Millisecond) != nil {
				return
			}
		}
	})
	for range senders {
		l.running.Go(func() {
			for range tickets {
				l.send(l.next.Add(1))
			}
		})
	}
	l.running.Go(func() { l.createDevices(ctx) })
	l.running.Go(func() { l.watchRows(ctx) })
	l.running.Go(func() { l.readers.run(ctx) })
	l.running.Go(func() { l.herd.run(ctx) })
	if o.MQTT {
		l.running.Go(func() { l.mqtt.run(ctx, 5*time.Second/time.Duration(max(o.Rate, 1))) })
	}
	return l, nil
}

// prepare makes the organization and the devices that everything is sent by.
func (l *load) prepare(ctx context.Context, mqtt bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := l.prepareOnce(ctx, mqtt)
		if err == nil {
			return nil
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
}

func (l *load) prepareOnce(ctx context.Context, mqtt bool) error {
	organizations := organizationv1.NewOrganizationServiceClient(l.w.conn)
	org, err := organizations.CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: "herd"})
	if err != nil {
		return err
	}
	l.herd = &herd{postgres: l.w.postgres.cluster.PostgresURL(""), organization: org.OrganizationId}
	if org, err = organizations.CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: "torture"}); err != nil {
		return err
	}
	l.organization = org.OrganizationId
	dev, err := l.create(ctx, "torture")
	if err != nil {
		return err
	}
	l.device = dev.EndDevice.DeviceId
	if !mqtt {
		return nil
	}
	if dev, err = l.create(ctx, "mqtt"); err != nil {
		return err
	}
	l.mqtt, err = startMQTT(ctx, l.w, l.organization, dev.EndDevice)
	return err
}

func (l *load) create(ctx context.Context, name string) (*enddevicev1.CreateEndDeviceResponse, error) {
	return enddevicev1.NewEndDeviceServiceClient(l.w.conn).CreateEndDevice(ctx, &enddevicev1.CreateEndDeviceRequest{
		OrganizationId: l.organization, Name: name, PayloadConversion: `{"n": input.u32be(0)}`,
	})
}

// send publishes envelope n until it is acknowledged, as a careful device does:
// with the same id each time.
func (l *load) send(n uint64) {
	payload, received := binary.BigEndian.AppendUint32(nil, uint32(n)), time.Now().Truncate(time.Microsecond)
	data, err := proto.Marshal(&envelopev1.RawEnvelope{OrganizationId: l.organization, DeviceId: l.device, Payload: payload, ReceivedAt: timestamppb.New(received)})
	if err != nil {
		panic(err) // three fields
	}
	m := &nats.Msg{Subject: "raw_envelopes." + l.organization + "." + l.device, Data: data, Header: nats.Header{jetstream.MsgIDHeader: {l.prefix + strconv.FormatUint(n, 10)}}}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := l.w.js.PublishMsg(ctx, m)
		cancel()
		if err == nil {
			l.acknowledged(n, received, time.Now())
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (l *load) acknowledged(n uint64, received, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing := int(n) + 1 - len(l.acks); missing > 0 {
		l.received = append(l.received, make([]time.Time, missing)...)
		l.acks = append(l.acks, make([]time.Time, missing)...)
	}
	l.received[n], l.acks[n] = received, at
	l.acked.Add(1)
}

// createDevices writes over gRPC and remembers what was acknowledged.
func (l *load) createDevices(ctx context.Context) {
	for i := 0; wait(ctx, 100*time.Millisecond) == nil; i++ {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		name := "device " + strconv.Itoa(i)
		resp, err := l.create(try, name)
		cancel()
		if err != nil {
			continue
		}
		l.mu.Lock()
		l.devices[resp.EndDevice.DeviceId] = name
		l.mu.Unlock()
		l.rename(ctx, resp.EndDevice.DeviceId, name+renamed)
	}
}

// renamed is what a device's second name ends with.
const renamed = ", renamed"

// rename changes a device. Without an answer it may have either name; so it is
// done until there is one.
func (l *load) rename(ctx context.Context, id, name string) {
	ctx = context.WithoutCancel(ctx)
	for {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err := enddevicev1.NewEndDeviceServiceClient(l.w.conn).UpdateEndDevice(try, &enddevicev1.UpdateEndDeviceRequest{DeviceId: id, Name: &name})
		cancel()
		if err == nil {
			l.mu.Lock()
			l.devices[id] = name
			l.mu.Unlock()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// watchRows follows how many rows there are.
func (l *load) watchRows(ctx context.Context) {
	last := time.Now()
	note := func(now time.Time) {
		l.mu.Lock()
		l.gaps = append(l.gaps, gap{last, now})
		l.mu.Unlock()
		last = now
	}
	for wait(ctx, 100*time.Millisecond) == nil {
		var n uint64
		if err := l.w.db.QueryRow(ctx, "SELECT count() FROM processed_envelopes").Scan(&n); err != nil {
			continue
		}
		if n > l.rows.Load() { // where it is less, rows were merged
			l.rows.Store(n)
			note(time.Now())
		}
	}
	note(time.Now()) // what has not ended is a stall, too
}

// longestStall is the longest time without a new row that touches one of spans, or
// of all where there are none.
func (l *load) longestStall(spans []span) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.gaps {
		if len(spans) == 0 || slices.ContainsFunc(spans, func(s span) bool { return g.from.Before(s.recovered) && g.to.After(s.began) }) {
			longest = max(longest, g.to.Sub(g.from))
		}
	}
	return longest
}

// recovered is when there is a new row.
func (l *load) recovered(ctx context.Context) time.Time {
	for before := l.rows.Load(); l.rows.Load() == before; {
		if wait(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	return time.Now()
}

// stop ends the load; every envelope that was begun is acknowledged.
func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

// names are those of all devices, by id, when the load has stopped.
func (l *load) names() map[string]string {
	all := l.herd.devices()
	maps.Copy(all, l.devices)
	return all
}

// sent is how many rows there have to be.
func (l *load) sent() int { return int(l.acked.Load() + l.mqtt.acked) }
