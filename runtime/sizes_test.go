package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// TestLargeBacklog has more bytes wait than a NATS server keeps for a connection that
// does not read (64 MiB): what triggers pull ahead is bounded in bytes, so that the
// server does not give the connection up, and each message comes once.
func TestLargeBacklog(t *testing.T) {
	t.Parallel()
	cfg := testStreams()
	cfg.MaxBytes = 1 << 30
	const messages, size = 320, 256 << 10
	const batchBytes = 8 << 20 // and one message
	for name, binding := range map[string]func(call func(int)) runtime.Binding{
		"transform": func(call func(int)) runtime.Binding {
			return runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
				func(*envelopev1.ProcessedEnvelope) []string { return []string{"o", "d"} },
				func(_ context.Context, e *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
					call(1)
					return &envelopev1.ProcessedEnvelope{OrganizationId: "o", EndDeviceId: "d", DataJson: e.Payload}, nil
				})
		},
		"batch": func(call func(int)) runtime.Binding {
			return runtime.OnBatch(cfg.RawEnvelopes(), "convert", runtime.Batch{Wait: time.Minute}, whole, func(_ context.Context, batch []*envelopev1.RawEnvelope) error {
				if n := len(batch); (n-1)*size > batchBytes {
					t.Errorf("a batch has %d messages of %d bytes", n, size)
				}
				call(len(batch))
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			nc := runtimetest.NATS(t)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			var calls atomic.Int64
			goOn := make(chan struct{})
			startWith(t, nc, cfg, runtime.Func("convert", binding(func(n int) {
				<-goOn
				calls.Add(int64(n))
			})))
			data, err := wire.Marshal(&envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "d", Payload: make([]byte, size)}, false)
			if err != nil {
				t.Fatal(err)
			}
			for range messages {
				if _, err := js.Publish(t.Context(), "raw_envelopes.o.d", data); err != nil {
					t.Fatal(err)
				}
			}
			close(goOn)
			c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "every message is done", func() bool {
				info, err := c.Info(t.Context())
				return err == nil && (info.AckFloor.Stream == messages || name == "batch" && info.NumPending == 0 && info.NumAckPending*size < batchBytes)
			})
			if n := calls.Load(); n > messages || nc.Stats().Reconnects > 0 {
				t.Errorf("%d calls for %d messages, %d reconnects", n, messages, nc.Stats().Reconnects)
			}
		})
	}
}

// TestPublisherOfLargeMessages lets no more bytes wait for their answers than it says,
// however few messages they are.
func TestPublisherOfLargeMessages(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	var mu sync.Mutex
	var unanswered []*nats.Msg
	if _, err := nc.Subscribe("slow", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		unanswered = append(unanswered, m)
	}); err != nil {
		t.Fatal(err)
	}
	p, err := runtime.NewPublisher(nc, 1_000, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	const messages, atOnce = 40, 16
	var begun, done atomic.Int64
	go func() {
		for range messages {
			p.Publish(&nats.Msg{Subject: "slow", Data: make([]byte, 1<<20)}, func(err error) {
				if err != nil {
					t.Error(err)
				}
				done.Add(1)
			})
			begun.Add(1)
		}
	}()
	for n := range int64(messages) {
		eventually(t, "there is one to be answered", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(unanswered) > 0 && begun.Load() >= min(n+atOnce, messages)
		})
		if on := begun.Load() - n; on > atOnce {
			t.Fatalf("%d MiB wait for their answers", on)
		}
		mu.Lock()
		m := unanswered[0]
		unanswered = unanswered[1:]
		mu.Unlock()
		if err := m.Respond([]byte(`{"stream":"s","seq":1}`)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is answered", func() bool { return done.Load() == n+1 })
	}
	p.Close()
}

// copying is a function whose results are so many times as large as its messages.
func copying(times int) runtime.Function {
	cfg := testStreams()
	return runtime.Func("convert", runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
		func(*envelopev1.ProcessedEnvelope) []string { return []string{"o", "d"} },
		func(_ context.Context, e *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
			return &envelopev1.ProcessedEnvelope{OrganizationId: "o", EndDeviceId: "d", DataJson: bytes.Repeat(e.Payload, times)}, nil
		}))
}

// TestStreamsTakeLess has somebody set streams to take small messages only: a larger result
// is a dead letter at once, of which the stream for them may take a part only.
func TestStreamsTakeLess(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, copying(1))
	for name, most := range map[string]int32{"processed_envelopes": 4_000, "dead_letters": 6_000} {
		runtimetest.Alter(t, js, name, func(c *jetstream.StreamConfig) { c.MaxMsgSize = most })
	}
	for _, size := range []int{10_000, 1} {
		sendPayload(t, nc, size)
	}
	eventually(t, "a result and a letter", func() bool {
		for _, name := range []string{"dead_letters", "processed_envelopes"} {
			if s, err := js.Stream(t.Context(), name); err != nil || s.CachedInfo().State.Msgs != 1 {
				return false
			}
		}
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == 2
	})
	s, err := js.Stream(t.Context(), "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "dead_letters.convert.result_too_large")
	if err != nil {
		t.Fatal(err)
	}
	if text := m.Header.Get("Ponix-Error"); !strings.Contains(text, "stream processed_envelopes") {
		t.Errorf("the error is %q", text)
	}
}

// TestMaxPayload holds that whoever runs functions beside a server that takes less than is
// recommended hears of it at the start, and nobody else does.
func TestMaxPayload(t *testing.T) {
	t.Parallel()
	for nc, warned := range map[*nats.Conn]bool{runtimetest.NATS(t): true, quietNATS(t): false} {
		var log runtimetest.Text
		h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: testStreams(), Logger: slog.New(slog.NewTextHandler(&log, nil))}, identity())
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "max_payload=1048576") != warned {
			t.Errorf("max_payload %d: the log is %q", nc.MaxPayload(), log.String())
		}
	}
}

// quietNATS is runtimetest.NATS that takes what is recommended, of which there is no warning.
func quietNATS(t *testing.T) *nats.Conn {
	return runtimetest.Connect(t, runtimetest.NATSServer(t, func(o *server.Options) { o.MaxPayload = streams.MaxPayload }))
}

// TestNATSTakesLess has a result be larger than NATS takes: it is a dead letter at once.
func TestNATSTakesLess(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	start(t, nc, copying(2))
	sendPayload(t, nc, int(nc.MaxPayload()/3*2))
	var all map[string]deadletter.Letter
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if all = letters(t, nc); len(all) == 0 {
			return errors.New("there is no letter")
		}
		return nil
	})
	if l := all["RESULT_TOO_LARGE"]; l.Deliveries != 1 || !strings.Contains(l.Error, "NATS takes") {
		t.Errorf("got %+v", all)
	}
}

// sendPayload puts a raw envelope with a payload of so many bytes on the stream.
func sendPayload(t *testing.T, nc *nats.Conn, size int) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	data, err := wire.Marshal(&envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "d", Payload: make([]byte, size)}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "raw_envelopes.o.d", data); err != nil {
		t.Fatal(err)
	}
}

// TestLetterThatWaits has a result be too large while no dead letter is answered: what comes
// beside it does not wait for that.
func TestLetterThatWaits(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, copying(1))
	runtimetest.Alter(t, js, "processed_envelopes", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 4_000 })
	if err := js.DeleteStream(t.Context(), "dead_letters"); err != nil {
		t.Fatal(err)
	}
	silence, err := nc.SubscribeSync("dead_letters.>")
	if err != nil {
		t.Fatal(err)
	}
	sendPayload(t, nc, 10_000)
	letter, err := silence.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	sendPayload(t, nc, 1)
	settled := func(floor uint64, pending int) func() error {
		return func() error {
			c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
			if err == nil && (c.CachedInfo().AckFloor.Stream != floor || c.CachedInfo().Delivered.Stream != 2 || c.CachedInfo().NumAckPending != pending) {
				err = fmt.Errorf("the consumer is at %+v", c.CachedInfo())
			}
			return err
		}
	}
	runtimetest.Eventually(t, 5*time.Second, settled(0, 1))
	if err := letter.Respond([]byte(`{"stream":"dead_letters","seq":1}`)); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 5*time.Second, settled(2, 0))
}
