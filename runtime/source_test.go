package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// A source that fails is started again when it says, and tells of itself.
func TestSource(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	var runs atomic.Int32
	var id atomic.Value
	h := start(t, nc, runtime.Func("tail-of", runtime.Source("log", func(ctx context.Context) error {
		if runs.Add(1) < 4 {
			return runtime.RetryAfter(time.Millisecond, errors.New("not yet"))
		}
		i := runtime.InstanceOf(ctx)
		id.Store(i.ID())
		i.Gauge("old", 1)
		i.ClearGauges()
		i.Gauge("lag_bytes", 7)
		i.Handled(5)
		<-ctx.Done()
		return nil
	}, testStreams().GatewayEvents())))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(t.Context(), "gateways"); err != nil {
		t.Errorf("the stream that it publishes to: %v", err)
	}
	var stats micro.Stats
	var data runtime.Data
	eventually(t, "STATS tell what the source has told", func() bool {
		reply, err := nc.Request("$SRV.STATS.tail-of", nil, time.Second)
		if err != nil || json.Unmarshal(reply.Data, &stats) != nil || json.Unmarshal(stats.Endpoints[0].Data, &data) != nil {
			t.Fatalf("got %v", err)
		}
		return stats.Endpoints[0].NumRequests == 3+5
	})
	if stats.ID != id.Load() || stats.Endpoints[0].NumErrors != 3 || len(data.Gauges) != 1 || data.Gauges["lag_bytes"] != 7 {
		t.Errorf("got %+v, %+v", stats.Endpoints[0], data)
	}
	body := metrics(h)
	if !strings.Contains(body, `ponix_tail_of_lag_bytes{binding="log"} 7`) {
		t.Errorf("metrics do not have it:\n%s", body)
	}
}

// What is told to an instance that there is none of goes nowhere.
func TestNoInstance(t *testing.T) {
	t.Parallel()
	i := runtime.InstanceOf(t.Context())
	i.Gauge("lag_bytes", 1)
	i.Handled(1)
	i.ClearGauges()
	i.Logger().Info("nobody hears")
	if i.ID() != "" {
		t.Errorf("it is called %q", i.ID())
	}
}

// A publisher calls back once for each message, in their order, with what became
// of it.
func TestPublisher(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	p, err := runtime.NewPublisher(nc, 4, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var stored, failed atomic.Int32
	for i := range 100 {
		subject := "s.a"
		if i%10 == 0 {
			subject = "nobody.takes.it"
		}
		p.Publish(&nats.Msg{Subject: subject}, func(err error) {
			if i == 99 {
				time.Sleep(100 * time.Millisecond) // Close waits for this one, too
			}
			if err != nil {
				failed.Add(1)
			} else {
				stored.Add(1)
			}
		})
	}
	p.Close()
	silent, err := runtime.NewPublisher(nc, 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("silence", func(*nats.Msg) { silent.Abort() }); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one that is on its way, and one that is not sent any more
		silent.Publish(&nats.Msg{Subject: "silence"}, func(err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	silent.Close()
	failed.Add(-2)
	if stored.Load() != 90 || failed.Load() != 10 {
		t.Errorf("%d stored, %d failed", stored.Load(), failed.Load())
	}
}

// TestLateAnswer has the answer to a message come when that has failed already, and its place
// is another's: it is none to that one.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	for name, batches := range map[string]bool{"one by one": false, "in batches": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lateAnswer(t, batches)
		})
	}
}

func lateAnswer(t *testing.T, batches bool) {
	nc := runtimetest.NATS(t)
	p, err := runtime.NewPublisher(nc, 1, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if batches {
		p.InBatches()
	}
	first := ""
	if _, err := nc.Subscribe("late", func(m *nats.Msg) {
		if first == "" {
			first = m.Reply
			return
		}
		for _, answer := range [][2]string{{first, `{"stream":"s","seq":1}`}, {m.Reply, `{"error":{"code":503}}`}} {
			if err := nc.Publish(answer[0], []byte(answer[1])); err != nil {
				t.Error(err)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p.Publish(&nats.Msg{Subject: "late"}, func(err error) {
			if err == nil {
				t.Error("it counts as stored")
			}
		})
	}
	p.Close()
}

// TestClosedPublisherIsGone holds that nothing runs on, or is kept, of one that is closed.
func TestClosedPublisherIsGone(t *testing.T) {
	t.Parallel()
	p, err := runtime.NewPublisher(runtimetest.NATS(t), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	kept := weak.Make(p)
	p.Close()
	eventually(t, "it is gone", func() bool {
		debug.FreeOSMemory() // which collects garbage
		return kept.Value() == nil
	})
}

// TestAnswersAreAwaited holds that a message has all of its time, however soon after it
// the publisher looks what is late.
func TestAnswersAreAwaited(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	if _, err := nc.SubscribeSync("silence"); err != nil {
		t.Fatal(err)
	}
	const timeout = 1500 * time.Millisecond
	p, err := runtime.NewPublisher(nc, 1, timeout)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(900 * time.Millisecond) // of the second after which it looks
	began := time.Now()
	p.Publish(&nats.Msg{Subject: "silence"}, func(error) {
		if took := time.Since(began); took < timeout {
			t.Errorf("it has failed after %v", took)
		}
	})
	p.Close()
}

// What a source fails with is logged, and for how long it ran; each binding has a
// line a second.
func TestSourceFailuresAreLogged(t *testing.T) {
	t.Parallel()
	lines := make(chan string, 8)
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) { lines <- string(p); return len(p), nil }), &slog.HandlerOptions{Level: slog.LevelWarn}))
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: quietNATS(t), Streams: testStreams(), Logger: log}, runtime.Func("tail-of", runtime.Source("log", func(context.Context) error {
		return runtime.RetryAfter(100*time.Millisecond, errors.New("the log is broken"))
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, want := range []string{"suppressed=0", "suppressed="} {
		select {
		case line := <-lines:
			_, took, _ := strings.Cut(line, "took=")
			took, _, _ = strings.Cut(took, " ")
			if d, err := time.ParseDuration(took); err != nil || d > 5*time.Second || !strings.Contains(line, "the log is broken") || !strings.Contains(line, want) {
				t.Errorf("got %s", line)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is logged")
		}
	}
	body := metrics(h)
	if !regexp.MustCompile(`ponix_handling_seconds_total\{binding="log",function="tail-of"\} (0|\d(\.\d+)?(e-\d+)?)\n`).MatchString(body) {
		t.Errorf("the time of the runs:\n%s", body)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestAnswerThatIsNone publishes where something answers that is no stream, and answers what
// was never asked: nothing counts as stored.
func TestAnswerThatIsNone(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	p, err := runtime.NewPublisher(nc, 1, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"", "+OK", `"stored"`, `{"error":{"code":503}}`} {
		sub, err := nc.Subscribe("s", func(m *nats.Msg) {
			inbox := m.Reply[:strings.LastIndex(m.Reply, ".0.")]
			for _, to := range []string{inbox + ".1.1", inbox + ".x.1", inbox + ".0.-", m.Reply} {
				nc.Publish(to, []byte(answer)) //nolint:errcheck // then none comes in time
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Publish(&nats.Msg{Subject: "s"}, func(err error) {
			if err == nil {
				t.Errorf("%q counts as stored", answer)
			}
		})
		p.Await(1)
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
}

// TestAbortedPublisher holds that what comes after something that has failed is not published.
func TestAbortedPublisher(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	p, err := runtime.NewPublisher(nc, 1, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := nc.SubscribeSync("s")
	if err != nil {
		t.Fatal(err)
	}
	p.Abort()
	failed := false
	p.Publish(&nats.Msg{Subject: "s"}, func(err error) { failed = err != nil })
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := sent.Pending(); err != nil || n > 0 || !failed {
		t.Errorf("%d messages are sent, and it has failed: %v, %v", n, failed, err)
	}
	p.Abort()
	p.Close()
}
