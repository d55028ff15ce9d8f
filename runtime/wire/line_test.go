package wire_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

const rpc = "/bench.Service/Echo"

// echo serves rpc with what handle answers.
func echo(t *testing.T, handle func(*nats.Msg)) (*wire.Client, *nats.Conn) {
	t.Helper()
	nc := runtimetest.NATS(t)
	if _, err := nc.Subscribe(wire.Subject(rpc), handle); err != nil {
		t.Fatal(err)
	}
	return wire.NewClient(nc), nc
}

// ask wants the text that it sends as the answer.
func ask(ctx context.Context, c *wire.Client, text string) error {
	switch got, err := c.Forward(ctx, wire.Subject(rpc), nil, []byte(text)); {
	case err != nil:
		return err
	case string(got) != text:
		return errors.New("asked for " + text + ", got " + string(got))
	}
	return nil
}

// TestSecondAnswer lets a server answer twice, and long after: each call gets its own.
func TestSecondAnswer(t *testing.T) {
	t.Parallel()
	var before *nats.Msg
	c, _ := echo(t, func(m *nats.Msg) {
		if before != nil {
			before.Respond([]byte("late")) //nolint:errcheck // the next call would miss its answer
		}
		m.Respond(m.Data)          //nolint:errcheck // likewise
		m.Respond([]byte("twice")) //nolint:errcheck // likewise
		before = m
	})
	for _, text := range strings.Fields("one two three four five six") {
		if err := ask(t.Context(), c, text); err != nil {
			t.Error(err)
		}
	}
}

// TestAnswerAfterTheCall holds the answer to a call that was given up away from the next.
func TestAnswerAfterTheCall(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var held *nats.Msg
	c, nc := echo(t, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if held == nil {
			held = m
			return
		}
		held.Respond(held.Data) //nolint:errcheck // nobody listens
		m.Respond(m.Data)       //nolint:errcheck // the call would miss it
	})
	before := nc.NumSubscriptions()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := ask(ctx, c, "slow"); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("got %v", err)
	}
	if n := nc.NumSubscriptions(); n != before {
		t.Errorf("%d subscriptions after a call that was given up, %d before", n, before)
	}
	if err := ask(t.Context(), c, "next"); err != nil {
		t.Error(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ask(over, c, "never"); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
}

// TestLines asks much at a time, and then one by one, and counts the subscriptions.
func TestLines(t *testing.T) {
	t.Parallel()
	const most, atOnce = 256, 400
	var mu sync.Mutex
	var held []*nats.Msg
	c, nc := echo(t, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, m); len(held) < atOnce {
			return // until all have asked
		}
		for _, m := range held {
			m.Respond(m.Data) //nolint:errcheck // the call would miss it
		}
		held = held[:atOnce-1] // from now on each is answered, and with it those of before, a second time
	})
	before := nc.NumSubscriptions()
	var all sync.WaitGroup
	for i := range atOnce {
		all.Go(func() {
			if err := ask(t.Context(), c, strings.Repeat("x", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for range 10 {
		if err := ask(t.Context(), c, "alone"); err != nil {
			t.Error(err)
		}
	}
	if n := nc.NumSubscriptions() - before; n != most {
		t.Errorf("%d subscriptions stay, not %d", n, most)
	}
}

// TestNATSIsAway holds that a call says so, and not of a buffer that is full.
func TestNATSIsAway(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	nc, err := config.NATS{URL: srv.ClientURL()}.Connect(t.Context(), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c := wire.NewClient(nc)
	ask(t.Context(), c, "anybody") //nolint:errcheck // nobody answers; it listens for answers from then on
	srv.Shutdown()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if !nc.IsReconnecting() {
			return errors.New("it has not noticed yet")
		}
		return nil
	})
	if err := ask(t.Context(), c, "anybody"); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "NATS is not connected" {
		t.Errorf("got %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	c := wire.NewClient(runtimetest.NATS(t))
	if err := ask(t.Context(), c, "anybody"); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "bench.Service") {
		t.Errorf("got %v", err)
	}
}

// TestTooLargeWithItsHeaders holds that what is said of a request that only its headers
// make too large is more than NATS takes.
func TestTooLargeWithItsHeaders(t *testing.T) {
	t.Parallel()
	c, nc := echo(t, func(m *nats.Msg) { m.Respond(m.Data) }) //nolint:errcheck // the caller sees it
	err := ask(t.Context(), c, strings.Repeat("a", int(nc.MaxPayload())))
	var has, most int
	if _, scan := fmt.Sscanf(status.Convert(err).Message(), "the request has %d bytes with its headers, NATS takes %d at most", &has, &most); scan != nil || has <= most {
		t.Errorf("got %v", err)
	}
}
