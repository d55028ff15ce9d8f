package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/local"
	"ponix/runtime/wire"
)

// gatewayLoad is brokers, with a device that publishes to each.
type gatewayLoad struct {
	*World
	brokers []*local.Broker
	devices []mqtt.Client
	count   int
	runs    int
}

// gateways measures MQTT → raw by the number of gateways, each a broker of its own.
// The brokers are in this process, and their CPU counts.
func (g Growth) gateways(ctx context.Context, w *World, a *Axis) error {
	a.About, a.X = "MQTT at QoS 1 → raw, by the number of gateways that the messages are shared out to", "gateways"
	a.Metrics = []Metric{Rate, CPU, Own, RSS}
	l := &gatewayLoad{World: w, count: g.Count}
	for _, n := range g.Gateways {
		a.add(n, fmt.Sprintf("%d gateways", n), func(ctx context.Context, r *Round) error { return l.run(ctx, r, n) })
	}
	return streams.Ensure(ctx, w.js, w.config.Streams.RawEnvelopes(), w.config.Streams.GatewayEvents())
}

// grow starts brokers until there are n, and a device at each.
func (l *gatewayLoad) grow(ctx context.Context, n int) error {
	for len(l.brokers) < n {
		b, err := local.StartBroker("127.0.0.1", 0, l.log)
		if err != nil {
			return err
		}
		l.brokers = append(l.brokers, b)
		d := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(b.URL).SetClientID("device").SetOrderMatters(false).SetMaxResumePubInFlight(100).SetWriteTimeout(stalled))
		if err := answered(ctx, d.Connect()); err != nil {
			return fmt.Errorf("connect to %s: %w", b.URL, err)
		}
		l.devices = append(l.devices, d)
	}
	return nil
}

// close stops the brokers, all at once: one waits until it is rid of its clients.
func (l *gatewayLoad) close() error {
	for _, d := range l.devices {
		d.Disconnect(0)
	}
	var all sync.WaitGroup
	for _, b := range l.brokers {
		all.Go(b.Stop)
	}
	l.devices, l.brokers = nil, nil
	stopped := make(chan struct{})
	go func() { all.Wait(); close(stopped) }()
	select {
	case <-stopped:
		return nil
	case <-time.After(stalled):
		return fmt.Errorf("not every broker stopped within %v", stalled)
	}
}

// run lets an instance connect to the first n brokers, and measures until all that
// is published to them is on the stream.
func (l *gatewayLoad) run(ctx context.Context, r *Round, n int) (err error) {
	// A server that shares its processor with a thousand brokers may take its time.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	l.runs++
	defer func() { err = errors.Join(err, l.close()) }() // brokers that have nothing to do take CPU all the same
	if err := l.grow(ctx, n); err != nil {
		return err
	}
	c, err := l.serve(ctx, "gateway-state", "mqtt-ingest")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.event(ctx, n, streams.Deleted), c.Close()) }()
	if err := l.event(ctx, n, streams.Created); err != nil {
		return err
	}
	if err := l.connected(ctx, c, n); err != nil {
		return err
	}
	before, err := l.stored(ctx)
	if err != nil {
		return err
	}
	began, from := readUsage(), c.cpu()
	each := max(1, l.count/n)
	var publishers errgroup.Group
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	for _, d := range l.devices[:n] {
		publishers.Go(func() error { return publish(publishing, d, each, max(1, inFlight/n)) })
	}
	err = measure(ctx, r, n*each, func(ctx context.Context) (int, error) {
		now, err := l.stored(ctx)
		return now - before, errors.Join(err, c.alive())
	})
	if err != nil {
		stop() // what is not published yet is of no interest
	}
	// All of it counts: much is on its way before the first is stored.
	r.from = began
	r.Stop(n * each)
	r.Set(Own, float64((c.cpu()-from).Nanoseconds())/1e3/float64(n*each))
	return errors.Join(err, publishers.Wait(), c.most(r))
}

// inFlight is how many messages wait for their acknowledgement at a time, of all gateways.
const inFlight = 1000

// publish sends n messages, so many at a time.
func publish(ctx context.Context, d mqtt.Client, n, window int) error {
	sent := make([]mqtt.Token, window)
	for i := range n + window {
		if t := sent[i%window]; t != nil {
			if err := answered(ctx, t); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		sent[i%window] = nil
		if i >= n {
			continue
		}
		t := d.Publish(organization+"/"+deviceID(i), 1, false, sample)
		select {
		case <-t.Done(): // it waited for the connection, in vain
			if t.Error() != nil {
				return t.Error()
			}
		default:
			sent[i%window] = t
		}
	}
	return nil
}

// answered waits until a broker has said what it thinks of something.
func answered(ctx context.Context, t mqtt.Token) error {
	timeout := time.NewTimer(stalled)
	defer timeout.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return fmt.Errorf("the broker does not answer within %v", stalled)
	}
}

// event tells of the first n gateways that something has happened to them.
func (l *gatewayLoad) event(ctx context.Context, n int, what string) error {
	to := l.config.Streams.GatewayEvents()
	for i := range n {
		data, err := proto.Marshal(&gatewayv1.Gateway{
			GatewayId: l.id(strconv.Itoa(i)), OrganizationId: organization, Name: "gateway", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
			Config: &gatewayv1.Gateway_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: l.brokers[i].URL}},
		})
		if err != nil {
			return err
		}
		if _, err := l.js.Publish(ctx, to.Subject(what), data); err != nil {
			return err
		}
	}
	return nil
}

// id of a gateway is never used again.
func (l *gatewayLoad) id(n string) string { return fmt.Sprintf("gateway%d-%s", l.runs, n) }

// connected waits until n gateways are.
func (l *gatewayLoad) connected(ctx context.Context, c *child, n int) error {
	states := gatewayv1.NewGatewayStateServiceClient(wire.NewClient(l.js.Conn()))
	for last, moved := 0, time.Now(); ; time.Sleep(50 * time.Millisecond) {
		now := 0
		for token := ""; ; {
			resp, err := states.ListGatewayStates(ctx, &gatewayv1.ListGatewayStatesRequest{OrganizationId: organization, PageToken: token})
			if err != nil {
				break // it is not there yet
			}
			for _, s := range resp.States {
				if strings.HasPrefix(s.Gateway.GetGatewayId(), l.id("")) && s.Connection == gatewayv1.ConnectionStatus_CONNECTION_STATUS_CONNECTED {
					now++
				}
			}
			if token = resp.NextPageToken; token == "" {
				break
			}
		}
		switch {
		case now >= n:
			return nil
		case c.alive() != nil:
			return c.alive()
		case ctx.Err() != nil:
			return ctx.Err()
		case now > last:
			last, moved = now, time.Now()
		case time.Since(moved) > stalled:
			return fmt.Errorf("%d of %d gateways are connected: %s", now, n, c.out.tail())
		}
	}
}

// stored is how many raw envelopes there have ever been.
func (l *gatewayLoad) stored(ctx context.Context) (int, error) {
	return l.lastOf(ctx, l.config.Streams.RawEnvelopes())
}
