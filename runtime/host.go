package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"ponix/nats/streams"
)

// Config is what the operator may change. Every field but Conn and Streams has
// a default.
type Config struct {
	Conn        *nats.Conn     // required
	Streams     streams.Config // required where a function has a trigger
	Version     string         // SemVer; default "0.0.0"
	Timeout     time.Duration  // of a call whose caller sets none, below Streams.AckWait; default 20 s
	Concurrency int            // calls in flight for each binding; default 256
	Grace       time.Duration  // to finish what is in flight on shutdown; default 20 s
	Logger      *slog.Logger   // default slog.Default()
}

func (c *Config) validate() error {
	if c.Conn == nil {
		return errors.New("runtime: Config.Conn is required")
	}
	c.Version = cmp.Or(c.Version, "0.0.0")
	c.Timeout = cmp.Or(c.Timeout, 20*time.Second)
	c.Concurrency = cmp.Or(c.Concurrency, 256)
	c.Grace = cmp.Or(c.Grace, 20*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if c.Timeout < 0 || c.Streams.AckWait > 0 && c.Timeout >= c.Streams.AckWait {
		return fmt.Errorf("runtime: Config.Timeout is %v: it must be between 0 and Streams.AckWait, %v, after which a message goes to another instance", c.Timeout, c.Streams.AckWait)
	}
	if c.Concurrency < 0 {
		return fmt.Errorf("runtime: Config.Concurrency is %d: it must be positive", c.Concurrency)
	}
	return nil
}

// Host is a set of running functions.
type Host struct {
	Config
	js        jetstream.JetStream
	validator protovalidate.Validator
	bindings  []*binding
	services  []*service
	watched   map[string]bool // streams
	full      sync.Map        // stream → part of its bytes in use, as float64
	pending   sync.Map        // of the watched streams: consumerKey → uint64, messages that are not settled
	logGone   limitedLog
	remaking  sync.Mutex
	cancel    context.CancelFunc // ends what is in flight
	watch     sync.WaitGroup     // retention
	unwatch   context.CancelFunc
	watching  context.Context
}

// consumerKey names a durable consumer.
type consumerKey struct{ stream, consumer string }

// binding is a Binding that runs.
type binding struct {
	host       *Host
	service    *service
	function   string
	name       string
	counters   counters
	logCall    limitedLog
	logPublish limitedLog
	logSettle  limitedLog
	logLetter  limitedLog
	logReply   limitedLog
	stopIntake func() // nothing new after it has returned
	wait       func() // nothing in flight after it has returned
}

// Start checks the functions, makes their streams and buckets and starts them: they are
// being served on return. It waits as long as NATS does not answer, unless ctx is done.
// Stop the host with [Host.Stop].
func Start(ctx context.Context, c Config, fns ...Function) (*Host, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if err := Check(fns...); err != nil {
		return nil, err
	}
	js, err := c.Streams.JetStream(c.Conn)
	if err != nil {
		return nil, err
	}
	v, err := protovalidate.New()
	if err != nil {
		return nil, err
	}
	h := &Host{Config: c, js: js, validator: v, watched: map[string]bool{}}
	if err := h.patiently(ctx, func() error { return h.ensureStreams(ctx, fns) }); err != nil {
		return nil, err
	}
	if takes := c.Conn.MaxPayload(); takes < streams.MaxPayload {
		h.Logger.Warn("the NATS server takes small messages only: what is larger becomes a dead letter, or its caller gets an error; raise max_payload", "max_payload", takes, "recommended", streams.MaxPayload)
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	h.watching, h.unwatch = context.WithCancel(work)
	defer context.AfterFunc(ctx, cancel)() // from now on, what it starts outlives ctx
	for _, fn := range fns {
		if err := h.startFunction(work, fn); err != nil {
			return nil, errors.Join(fmt.Errorf("function %s: %w", fn.Name, err), h.Stop())
		}
	}
	if err := h.patiently(ctx, func() error { return c.Conn.FlushTimeout(c.Grace) }); err != nil { // so that everybody can reach us
		return nil, errors.Join(err, h.Stop())
	}
	return h, nil
}

// patiently calls f until NATS answers it, as whoever starts us has waited for a
// connection. From another domain, it is the leaf node's way there that may be cut.
func (h *Host) patiently(ctx context.Context, f func() error) error {
	for delay := 500 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
		remind := time.AfterFunc(5*time.Second, func() { h.Logger.Warn("waiting for NATS to answer") })
		err := streams.Refused(h.Conn, f())
		remind.Stop()
		cut := h.Streams.Domain != "" && errors.Is(err, nats.ErrNoResponders)
		if err == nil || !streams.Unanswered(err) && !cut || h.Conn.IsClosed() {
			return err
		}
		h.Logger.Warn("waiting for NATS to answer", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(delay):
		}
	}
}

// Prepare makes the functions' streams, as Start does, and no more: for those who
// run functions as users that may not.
func Prepare(ctx context.Context, c Config, fns ...Function) error {
	if err := c.validate(); err != nil {
		return err
	}
	js, err := c.Streams.JetStream(c.Conn)
	if err != nil {
		return err
	}
	return (&Host{Config: c, js: js}).ensureStreams(ctx, fns)
}

func (h *Host) ensureStreams(ctx context.Context, fns []Function) error {
	var buckets []jetstream.KeyValueConfig
	var need []streams.Stream
	for _, fn := range fns {
		buckets = append(buckets, fn.Buckets...)
		for _, b := range fn.Bindings {
			need = append(need, b.streams...)
		}
	}
	if len(need) > 0 {
		need = append(need, h.Streams.DeadLetters())
	}
	if err := streams.Supported(h.Conn); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return streams.EnsureBuckets(ctx, h.js, buckets...) })
	group.Go(func() error { return streams.Ensure(ctx, h.js, need...) })
	return group.Wait()
}

// remake makes a stream again that somebody deleted, unless that is being done: what was
// to be published there comes again.
func (h *Host) remake(s streams.Stream) {
	if !h.remaking.TryLock() {
		return
	}
	defer h.remaking.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := streams.Ensure(ctx, h.js, s); err != nil {
		h.logGone.log(h.Logger, slog.LevelWarn, "a stream is gone and cannot be made again", "stream", s.Name, "error", err)
	}
}

func (h *Host) startFunction(ctx context.Context, fn Function) error {
	s := newService(h.Conn, fn.Name, h.Version, fn.About)
	h.services = append(h.services, s)
	for _, b := range fn.Bindings {
		running := &binding{host: h, service: s, function: fn.Name, name: b.name, stopIntake: func() {}, wait: func() {}}
		if err := b.start(ctx, running); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		h.bindings = append(h.bindings, running)
	}
	return s.listen()
}

// Stop stops the intake, waits for what is in flight, up to Config.Grace, and
// then cancels it. What was not finished will be delivered again.
func (h *Host) Stop() error {
	h.unwatch()
	defer h.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		each(h.bindings, func(b *binding) { b.stopIntake() })
		each(h.bindings, func(b *binding) { b.wait() })
		for _, s := range h.services {
			s.close()
		}
		h.watch.Wait()
	}()
	select {
	case <-done:
		if !h.Conn.IsConnected() {
			return fmt.Errorf("%w: what was finished last may be delivered again", nats.ErrDisconnected)
		}
		return h.Conn.FlushTimeout(h.Grace)
	case <-time.After(h.Grace):
		return fmt.Errorf("some calls were still running after %v and were given up", h.Grace)
	}
}

// each runs f for all of items at once and waits.
func each[T any](items []T, f func(T)) {
	var all sync.WaitGroup
	for _, item := range items {
		all.Go(func() { f(item) })
	}
	all.Wait()
}
