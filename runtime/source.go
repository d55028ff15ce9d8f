package runtime

import (
	"context"
	"errors"
	"time"

	"ponix/nats/streams"
	"ponix/runtime/wire"
)

// Source runs work that is neither a request nor a message, such as tailing a
// replication slot. run returns when its context is done; when it returns
// earlier it is started again, after a delay that grows while it keeps failing,
// or that [RetryAfter] says. The streams are those that it publishes to: they
// exist when it starts. [InstanceOf] its context tells where it runs.
func Source(name string, run func(context.Context) error, publishes ...streams.Stream) Binding {
	return Binding{
		name:    name,
		check:   func() error { return nil },
		streams: publishes,
		start: func(ctx context.Context, b *binding) error {
			ctx, cancel := context.WithCancel(ctx)
			b.service.addTrigger(endpointSpec{name: name, subject: name, counters: &b.counters, metadata: map[string]string{"source": name}})
			handle := b.chainSource(run)
			done := make(chan struct{})
			go func() {
				defer close(done)
				repeat(context.WithValue(ctx, instanceKey{}, Instance{b}), handle)
			}()
			b.stopIntake = cancel
			b.wait = func() { <-done }
			return nil
		},
	}
}

// chainSource is chain without what only makes sense for a call that ends.
func (b *binding) chainSource(run func(context.Context) error) func(context.Context) error {
	h := tracing(logging(b.host.Logger, &b.logCall, metrics(&b.counters, recovery(func(ctx context.Context, c *call) ([]byte, error) {
		return nil, run(context.WithValue(ctx, wire.TraceKey{}, c.trace))
	}))))
	return func(ctx context.Context) error {
		_, err := h(ctx, &call{function: b.function, source: b.name, messages: 1, began: time.Now(), unheard: true})
		return err
	}
}

// repeat calls f until ctx is done.
func repeat(ctx context.Context, f func(context.Context) error) {
	for attempt := 1; ; attempt++ {
		started := time.Now()
		err := f(ctx)
		if err == nil || time.Since(started) > time.Minute {
			attempt = 1
		}
		delay := backoff(attempt)
		if after := (*retry)(nil); errors.As(err, &after) {
			delay = after.after
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}
