package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"ponix/functions"
	organizationv1 "ponix/proto/ponix/organization/v1"
)

// changesPerSecond is how many rows are committed a second: a load that leaves the
// machine idle between two.
const changesPerSecond = 200

// CDCLatency compares how long it takes from the moment that a commit is answered to
// the moment that a subscriber of the stream has the event, with a request to a
// subscriber that answers at once, on other connections to the same server, made as
// often.
func CDCLatency(ctx context.Context, w *World, d time.Duration) (Suite, error) {
	s := Suite{
		Name: "cdc, live", About: fmt.Sprintf("commit → event at a subscriber, %d rows a second", changesPerSecond),
		Metrics: []Metric{P50, P90, P99, Max},
		Goals:   []Goal{{Of: "ponix", Base: "NATS round trip", Metric: P50, Bound: 2.5, AtMost: true}},
	}
	c, err := newCapture(ctx, w)
	if err != nil {
		return s, err
	}
	n := max(int(d.Seconds()*changesPerSecond), 1)
	s.Cases = []Case{
		{"NATS round trip", func(_ context.Context, r *Round) error { return c.roundTrips(r, n) }},
		{"ponix", func(ctx context.Context, r *Round) error { return c.live(ctx, r, n) }},
	}
	return s, nil
}

// paced calls f n times, when each is due.
func paced(n int, f func(int) error) error {
	began := time.Now()
	for i := range n {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / changesPerSecond)))
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

func (c *capture) roundTrips(r *Round, n int) error {
	there, err := c.dial()
	if err != nil {
		return err
	}
	defer there.Close()
	here, err := c.dial()
	if err != nil {
		return err
	}
	defer here.Close()
	if _, err := there.Subscribe("bench.echo", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil { //nolint:errcheck // the request fails
		return err
	}
	if err := there.Flush(); err != nil {
		return err
	}
	h := newHistogram()
	payload := make([]byte, 100)
	r.Start()
	err = paced(n, func(int) error {
		at := time.Now()
		_, err := here.Request("bench.echo", payload, stalled)
		record(h, time.Since(at))
		return err
	})
	r.Stop(n)
	r.percentiles(h)
	return err
}

// live is the product, at work.
func (c *capture) live(ctx context.Context, r *Round, n int) error {
	closing, err := c.reading(ctx)
	if err != nil {
		return err
	}
	defer closing.Close() //nolint:errcheck // all has arrived
	nc, err := c.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	c.rounds++
	prefix := fmt.Sprintf("live-%d-", c.rounds)
	var mu sync.Mutex
	arrived := make(map[string]time.Time, n)
	all := make(chan struct{})
	if _, err := nc.Subscribe(c.config.Streams.OrganizationEvents().Name+".>", func(m *nats.Msg) {
		now := time.Now()
		var o organizationv1.Organization
		if proto.Unmarshal(m.Data, &o) != nil || !strings.HasPrefix(o.Id, prefix) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if arrived[o.Id] = now; len(arrived) == n {
			close(all)
		}
	}); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	committed := make([]time.Time, n)
	r.Start()
	if err := paced(n, func(i int) error {
		_, err := c.db.Exec(ctx, "INSERT INTO organizations (id, name) VALUES ($1, 'a name of an organization')", fmt.Sprint(prefix, i))
		committed[i] = time.Now()
		return err
	}); err != nil {
		return err
	}
	select {
	case <-all:
	case <-time.After(stalled):
		return fmt.Errorf("not every event of %d arrived within %v", n, stalled)
	}
	r.Stop(n)
	mu.Lock()
	defer mu.Unlock()
	h := newHistogram()
	for i, at := range committed {
		record(h, arrived[fmt.Sprint(prefix, i)].Sub(at))
	}
	r.percentiles(h)
	return nil
}

// reading starts the product, and waits until it reads the slot.
func (c *capture) reading(ctx context.Context) (closer, error) {
	h, err := c.host(ctx, functions.Deps{Postgres: c.db}, "cdc")
	if err != nil {
		return nil, err
	}
	ready := fmt.Sprintf("SELECT count(*) = 1 FROM pg_replication_slots AS s JOIN pg_stat_replication AS r ON s.active_pid = r.pid WHERE slot_name = '%s' AND state = 'streaming'", c.config.CDC.Slot)
	if err := c.until(ctx, ready); err != nil {
		h.Close() //nolint:errcheck // there is an error already
		return nil, err
	}
	return h.Close, nil
}
