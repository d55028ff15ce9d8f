package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
)

// Latency compares how long it takes from the moment that a raw envelope is due to
// the moment that a subscriber of the stream has the processed one, at fixed rates.
// Nobody waits for anybody: an envelope is due when its time has come, however long
// those before it take, and its time counts from then. So what a stall would have
// delayed is counted as delayed (there is no coordinated omission).
func Latency(ctx context.Context, w *World, rates []int, d time.Duration) (Suite, error) {
	s := Suite{
		Name: "latency", About: "raw envelope due → processed envelope at a subscriber, open loop, at fixed rates a second",
		Metrics: []Metric{P50, P90, P99, P999, Max, CPU},
	}
	p, err := newPipeline(ctx, w, 0)
	if err != nil {
		return s, err
	}
	for _, rate := range rates {
		for _, c := range []struct {
			name  string
			start func(context.Context) (io.Closer, error)
		}{{"limit loop", p.bareLoop}, {"ponix", p.convert}} {
			s.Cases = append(s.Cases, Case{fmt.Sprintf("%s, %d/s", c.name, rate), func(ctx context.Context, r *Round) error {
				if err := p.emptied(ctx); err != nil { // competitors begin at the first raw envelope
					return err
				}
				if err := p.reset(ctx); err != nil {
					return err
				}
				running, err := c.start(ctx)
				if err != nil {
					return err
				}
				defer running.Close() //nolint:errcheck // all is settled
				return p.target().load(ctx, r, rate, d)
			}})
		}
	}
	return s, nil
}

// target is where envelopes go and come out.
type target struct {
	js        jetstream.JetStream
	processed streams.Stream
	filter    string                                                        // subject of the processed envelopes
	envelope  func(i int, id string, at time.Time) (m *nats.Msg, err error) // that is sent
}

func (p *pipeline) target() target {
	raw, processed := p.config.Streams.RawEnvelopes(), p.config.Streams.ProcessedEnvelopes()
	return target{p.js, processed, processed.Subject(organization, "*"), func(i int, id string, at time.Time) (*nats.Msg, error) {
		return rawEnvelope(raw, i, id, timestamppb.New(at))
	}}
}

// settling is how long caches and connections may take to get warm.
const settling = time.Second

// schedule is when each envelope is due.
type schedule struct {
	from time.Time
	rate int
}

func (s schedule) due(i int) time.Time {
	return s.from.Add(time.Duration(float64(i) / float64(s.rate) * float64(time.Second)))
}

// load sends rate envelopes a second for d, after some that do not count, and notes
// how long each took.
func (t target) load(ctx context.Context, r *Round, rate int, d time.Duration) error {
	warm := int(settling.Seconds() * float64(rate))
	total := warm + int(d.Seconds()*float64(rate))
	prefix := "bench-" + nuid.Next() + "-"
	out, err := t.subscribe(ctx)
	if err != nil {
		return err
	}
	h := newHistogram()
	var mu sync.Mutex
	var got atomic.Int64
	when := schedule{time.Now().Add(100 * time.Millisecond), rate}
	cc, err := out.Consume(func(m jetstream.Msg) {
		id := m.Headers().Get(jetstream.MsgIDHeader)
		text, ours := strings.CutPrefix(id[strings.LastIndexByte(id, ' ')+1:], prefix) // Ponix puts whose it is before it
		i, err := strconv.Atoi(text)
		if !ours || err != nil {
			return
		}
		if i >= warm {
			mu.Lock()
			record(h, time.Since(when.due(i)))
			mu.Unlock()
		}
		got.Add(1)
	})
	if err != nil {
		return err
	}
	defer cc.Stop()
	sent, err := t.send(ctx, r, prefix, when, warm, total)
	if err == nil {
		err = arrived(ctx, &got, total)
	}
	if err != nil {
		if ctx.Err() != nil { // what is on its way would become dead letters without its device
			err = errors.Join(err, arrived(context.WithoutCancel(ctx), &got, sent))
		}
		return err
	}
	r.Stop(total - warm)
	mu.Lock()
	defer mu.Unlock()
	return finish(r, h, total-warm)
}

func finish(r *Round, h *hdrhistogram.Histogram, sent int) error {
	if h.TotalCount() != int64(sent) {
		return fmt.Errorf("%d envelopes of %d arrived once", h.TotalCount(), sent)
	}
	r.percentiles(h)
	return nil
}

// subscribe reads what will be stored from now on.
func (t target) subscribe(ctx context.Context) (jetstream.Consumer, error) {
	return t.js.OrderedConsumer(ctx, t.processed.Name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{t.filter}, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
}

// send publishes each envelope when it is due, or at once where that has passed. It
// returns how many it has published.
func (t target) send(ctx context.Context, r *Round, prefix string, when schedule, warm, total int) (int, error) {
	for i := range total {
		if ctx.Err() != nil {
			return i, ctx.Err()
		}
		if wait := time.Until(when.due(i)); wait > 0 {
			time.Sleep(wait)
		}
		if i == warm {
			r.Start()
		}
		m, err := t.envelope(i, prefix+strconv.Itoa(i), when.due(i))
		if err != nil {
			return i, err
		}
		if _, err := t.js.PublishMsgAsync(m, jetstream.WithStallWait(stalled)); err != nil {
			return i, err
		}
	}
	return total, nil
}

// arrived waits until so many are there.
func arrived(ctx context.Context, got *atomic.Int64, total int) error {
	for last, moved := int64(0), time.Now(); ; time.Sleep(time.Millisecond) {
		n := got.Load()
		switch {
		case n >= int64(total):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case n > last:
			last, moved = n, time.Now()
		case time.Since(moved) > stalled:
			return fmt.Errorf("%d of %d envelopes arrived, and none for %v", n, total, stalled)
		}
	}
}
