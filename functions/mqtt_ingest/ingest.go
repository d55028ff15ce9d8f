// Package mqttingest receives what devices publish to gateways, which are MQTT
// brokers, and makes raw envelopes of it.
//
// # Who runs a gateway
//
// Every instance keeps a lease alive in the bucket of leases, and owns a gateway
// by a claim there, which is good for as long as the lease. The instances watch
// the bucket: each owns its share of the gateways, takes over those of an
// instance whose lease has run out, and hands over what is above its share.
//
// # What is promised
//
// A message is acknowledged to the broker, at QoS 1, when JetStream has its
// envelope, and not before. A gateway's client id is always the same and its
// session is kept by the broker for a day, so the next owner gets what the last
// one did not acknowledge, and what came meanwhile: nothing is lost. The lease
// sees to it that only one owner connects.
//
// What the last owner had stored but not acknowledged comes again. Its envelope
// then has the same Nats-Msg-Id (see identity), through any number of owners, so
// JetStream keeps one, as long as each takeover happens within the two minutes
// for which it knows ids. An owner that was stopped, and goes on when another has
// taken over, names nothing and stores nothing. So it is exactly one envelope with
// a broker that does as MQTT says: keeps session and packet ids, sends again what
// is not acknowledged before anything new, and marks it. EMQX and Eclipse Mosquitto do,
// and so does the broker of `ponix up --mqtt`. The NATS server sends again late,
// which is well too, since it counts packet ids up.
//
// With other brokers it is at least one. There is a second one where packet ids
// are not kept, as over a restart of the NATS server, and where one is given out
// again while higher ones are free: what comes again from such a broker is always
// another envelope. And there is one promise less with a broker that counts packet
// ids from one again with each connection (mochi-mqtt as it is): two messages with
// the same topic, payload and packet id within two minutes are taken for one, if
// the second was sent to an owner which died before it read anything new.
package mqttingest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime"
)

// New returns the function. It has no endpoints: GatewayStateService tells of it.
func New(nc *nats.Conn, js jetstream.JetStream, s streams.Config, c Config) runtime.Function {
	f := ingest{nc, js, s, c}
	return runtime.Func("mqtt-ingest", runtime.Source("sessions", f.run, s.RawEnvelopes())).
		Keeping(f.buckets()...).
		Described("messages of MQTT brokers to raw envelopes")
}

type ingest struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	streams streams.Config
	Config
}

// buckets are those that an instance works on.
func (f ingest) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{f.streams.GatewayStates(), f.streams.Leases(), f.streams.MQTTSessions()}
}

// publishWindow is how many envelopes of all gateways wait for JetStream at a
// time, and publishTimeout how long each: then it is published again, with its id.
const (
	publishWindow  = 4096
	publishTimeout = 10 * time.Second
)

// run takes part until ctx is done or the lease is lost.
func (f ingest) run(ctx context.Context) error {
	o := &owner{
		me: runtime.InstanceOf(ctx).ID(), log: runtime.InstanceOf(ctx).Logger(), ctx: ctx, view: newView(), js: f.js, raw: f.streams.RawEnvelopes(),
		sessions: map[string]*session{}, giving: map[string]bool{}, ended: make(chan string), quit: make(chan struct{}),
	}
	var err error
	if o.dialer, err = f.dialer(); err != nil {
		return runtime.RetryAfter(time.Minute, err)
	}
	// Somebody may have deleted them, or NATS have lost its disk.
	if err := streams.EnsureBuckets(ctx, f.js, f.buckets()...); err != nil {
		return err
	}
	for i, kv := range []*jetstream.KeyValue{&o.states, &o.leases, &o.records} {
		name := f.buckets()[i].Bucket
		if *kv, err = f.js.KeyValue(ctx, name); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	if o.out, err = runtime.NewBatching(f.nc, f.streams.Atomic, publishWindow, publishTimeout); err != nil {
		return err
	}
	defer o.out.Close()
	if o.lease, err = newLease(ctx, f.js, o.leases, o.me, f.Lease); err != nil {
		return err
	}
	return o.run(ctx)
}
