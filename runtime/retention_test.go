package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// fill publishes envelopes of 10 kB until the stream refuses one or n are there.
func fill(t *testing.T, js jetstream.JetStream, n int) int {
	t.Helper()
	for i := range n {
		_, err := js.Publish(t.Context(), "raw_envelopes.o.d", append([]byte{0x1a, 0x90, 0x4e}, make([]byte, 10_000)...))
		if err != nil {
			var api *jetstream.APIError
			if !errors.As(err, &api) {
				t.Fatal(err)
			}
			return i
		}
	}
	return n
}

// TestFullStream holds that a stream purges what is settled, and refuses new
// messages rather than lose one that is not.
func TestFullStream(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	cfg.MaxBytes = 1 << 20
	if err := streams.Ensure(t.Context(), js, cfg.RawEnvelopes(), cfg.ProcessedEnvelopes(), cfg.DeadLetters()); err != nil {
		t.Fatal(err)
	}
	sent := fill(t, js, 1000)
	if sent < 50 || sent == 1000 {
		t.Fatalf("the stream took %d messages of 10 kB in 1 MiB", sent)
	}
	var handled = make(chan struct{}, 10_000)
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Concurrency: 4}, runtime.Func("convert",
		runtime.OnMessage(cfg.RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error {
			handled <- struct{}{}
			return nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for range sent { // not one of them was discarded
		<-handled
	}
	runtimetest.Eventually(t, 25*time.Second, func() error { // and there is room again
		if n := fill(t, js, 20); n < 20 {
			return fmt.Errorf("it took %d", n)
		}
		return nil
	})
	body := metrics(h)
	if !strings.Contains(body, "raw_envelopes") {
		t.Errorf("the metrics say nothing of the stream:\n%s", body)
	}
}

// TestSmallerStream has the operator make a stream smaller than what it holds, while those who
// work on it know of the old limit: what is settled makes room.
func TestSmallerStream(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert",
		func(context.Context, *envelopev1.RawEnvelope) error { return nil })))
	const sent = 200 // of 10 kB
	if n := fill(t, js, sent); n < sent {
		t.Fatalf("the stream took %d", n)
	}
	eventually(t, "all are settled", func() bool {
		return strings.Contains(metrics(h), `ponix_consumer_pending{consumer="convert",stream="raw_envelopes"} 0`)
	})
	cfg := testStreams()
	cfg.MaxBytes = 1 << 20
	if err := streams.Ensure(t.Context(), js, cfg.RawEnvelopes()); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if n := fill(t, js, 20); n < 20 {
			return fmt.Errorf("it took %d", n)
		}
		return nil
	})
}

// TestEmptiedStream has somebody purge a stream: the metrics say that it is empty.
func TestEmptiedStream(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, nc, identity())
	full := func(empty bool) func() bool {
		return func() bool {
			body := metrics(h)
			_, ratio, found := strings.Cut(body, `ponix_stream_full_ratio{stream="raw_envelopes"} `)
			return found && strings.HasPrefix(ratio, "0\n") == empty
		}
	}
	sendRaw(t, js, "", "o", "d")
	eventually(t, "it is not empty", full(false))
	s, err := js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is empty", full(true))
}

// TestReplayWindow holds that what is settled goes when its window has passed, be it none,
// and what is not settled stays.
func TestReplayWindow(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{50 * time.Millisecond, 0} {
		t.Run(window.String(), func(t *testing.T) {
			t.Parallel()
			nc := runtimetest.NATS(t)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			cfg := testStreams()
			cfg.ReplayWindow = window
			release := make(chan struct{})
			h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Concurrency: 8}, runtime.Func("convert",
				runtime.OnMessage(cfg.RawEnvelopes(), "convert", func(ctx context.Context, _ *envelopev1.RawEnvelope) error {
					if runtime.MessageFrom(ctx).Sequence == 4 {
						<-release
					}
					return nil
				})))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := h.Stop(); err != nil {
					t.Error(err)
				}
			}()
			fill(t, js, 6)
			wantFirst(t, js, 4)
			close(release)
			wantFirst(t, js, 7)
		})
	}
}

// TestReplayWindowAndFilters has durable consumers of somebody else, who wants messages that
// do not come, or one that he has not settled: only what is after that one stays.
func TestReplayWindowAndFilters(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	cfg.ReplayWindow = 0
	startWith(t, nc, cfg, runtime.Func("convert", runtime.OnMessage(cfg.RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error { return nil })))
	s, err := js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{"never", "b"} {
		if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "of-" + device, FilterSubject: "raw_envelopes.o." + device, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, nc, "a", "a", "a")
	wantFirst(t, js, 4)
	publish(t, nc, "a", "b", "a")
	wantFirst(t, js, 5)
	b, err := s.Consumer(t.Context(), "of-b")
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Next()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // longer than from one purge to the next
	wantFirst(t, js, 5)
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, js, 7)
}

// wantFirst waits until the stream begins with that sequence.
func wantFirst(t *testing.T, js jetstream.JetStream, want uint64) {
	t.Helper()
	runtimetest.Eventually(t, 25*time.Second, func() error {
		s, err := js.Stream(t.Context(), "raw_envelopes")
		if err == nil && s.CachedInfo().State.FirstSeq != want {
			err = fmt.Errorf("the first message is %d, not %d", s.CachedInfo().State.FirstSeq, want)
		}
		return err
	})
}

// TestReplayWindowWithOddHeaders has a message with a header that the server writes when
// it is asked for one, and another, which is never settled, with headers that are none:
// what is settled goes all the same.
func TestReplayWindowWithOddHeaders(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	cfg.ReplayWindow = 50 * time.Millisecond
	startWith(t, nc, cfg, runtime.Func("convert", runtime.OnBatch(cfg.RawEnvelopes(), "convert", runtime.Batch{Size: 1},
		func(payload []byte, _ func([]byte) (*envelopev1.RawEnvelope, error)) ([]byte, error) {
			return payload, nil
		},
		func(_ context.Context, all [][]byte) error {
			if string(all[0]) == "\xff" {
				return errors.New("not yet")
			}
			return nil
		})))
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.o.d", Header: nats.Header{"Nats-Time-Stamp": {"never"}}}); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, js, 2)
	publish(t, nc, "d")
	if err := publishRaw(t, nc.ConnectedUrl(), "no colon"); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, js, 3)
}

// TestFullStreamsAreLogged has two streams fill up: each is told of.
func TestFullStreamsAreLogged(t *testing.T) {
	t.Parallel()
	nc := quietNATS(t)
	cfg := testStreams()
	cfg.MaxBytes = 1 << 20
	told := map[string]int{}
	lines := make(chan string)
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) { lines <- string(p); return len(p), nil }), &slog.HandlerOptions{Level: slog.LevelWarn}))
	never := func(context.Context, *envelopev1.RawEnvelope) error {
		return runtime.RetryAfter(time.Hour, errors.New("not yet"))
	}
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Logger: log}, runtime.Func("both",
		runtime.OnMessage(cfg.RawEnvelopes(), "convert", never), runtime.OnMessage(cfg.ProcessedEnvelopes(), "store", never)))
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error)
	defer func() {
		go func() { stopped <- h.Stop() }()
		for {
			select {
			case <-lines:
			case err := <-stopped:
				if err != nil {
					t.Error(err)
				}
				return
			}
		}
	}()
	for _, subject := range []string{"raw_envelopes.o.d", "processed_envelopes.o.d"} {
		for range 9 {
			if _, err := nc.Request(subject, append([]byte{0x1a, 0xa0, 0x8d, 6}, make([]byte, 100_000)...), 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := time.After(time.Minute)
	for told["raw_envelopes"]+told["processed_envelopes"] < 6 {
		select {
		case line := <-lines:
			if _, line, ok := strings.Cut(line, "stream="); ok {
				name, _, _ := strings.Cut(line, " ")
				told[name]++
			}
		case <-end:
			t.Fatalf("told of %v", told)
		}
	}
	if told["raw_envelopes"] < 2 || told["processed_envelopes"] < 2 {
		t.Errorf("told of %v", told)
	}
}

// TestWaitingForConsumers holds that the metric of what waits for a consumer tells of no
// consumer that is gone, and of nothing that is.
func TestWaitingForConsumers(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg}, runtime.Func("convert",
		runtime.OnMessage(cfg.RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error { return nil })))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	}()
	name := cfg.RawEnvelopes().Name
	for _, durable := range []string{"gone", "purged"} {
		if _, err := js.CreateConsumer(t.Context(), name, jetstream.ConsumerConfig{Durable: durable, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
	}
	sendRaw(t, js, "", "o", "d")
	waits := func(gone, purged string) {
		t.Helper()
		runtimetest.Eventually(t, 25*time.Second, func() error {
			body := metrics(h)
			for consumer, n := range map[string]string{"gone": gone, "purged": purged} {
				line := fmt.Sprintf("ponix_consumer_pending{consumer=%q,stream=%q} ", consumer, name)
				if got := body; strings.Contains(got, line) != (n != "") || !strings.Contains(got, line+n) && n != "" {
					return fmt.Errorf("want %q for %s:\n%s", n, consumer, got)
				}
			}
			return nil
		})
	}
	waits("1", "1")
	if err := js.DeleteConsumer(t.Context(), name, "gone"); err != nil {
		t.Fatal(err)
	}
	waits("", "1")
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	waits("", "0")
}
