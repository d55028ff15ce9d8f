package runtime

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// TestStartIsCancelled has a start end when some functions run already, while another one
// starts or while NATS, which has gone away, is waited for: nothing of them stays.
func TestStartIsCancelled(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"while a function starts": false, "while NATS is away": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := runtimetest.NATSServer(t)
			nc := runtimetest.Connect(t, srv)
			before := nc.NumSubscriptions()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			running, ended := make(chan struct{}), make(chan struct{})
			first := Source("first", func(ctx context.Context) error {
				close(running)
				<-ctx.Done()
				close(ended)
				return nil
			})
			second := Binding{name: "second", check: func() error { return nil }, start: func(work context.Context, _ *binding) error {
				<-running
				if away {
					srv.Shutdown()
					time.AfterFunc(100*time.Millisecond, cancel)
					return nil
				}
				cancel()
				select {
				case <-work.Done():
					return work.Err()
				case <-time.After(10 * time.Second):
					return errors.New("it goes on")
				}
			}}
			c := Config{Conn: nc, Grace: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)}
			if _, err := Start(ctx, c, Func("a", first), Func("b", second)); err == nil || !away && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			select {
			case <-ended:
			default:
				t.Error("a source goes on")
			}
			if n := nc.NumSubscriptions(); n != before {
				t.Errorf("there are %d subscriptions, %d before", n, before)
			}
		})
	}
}
