package runtime_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestStopEndsABatch stops while a batch is collected, which has all the time: its messages are
// handled, or given back to another instance, and wait in nobody's hand.
func TestStopEndsABatch(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	s := testStreams().RawEnvelopes()
	var done atomic.Int64
	instance := func(wait time.Duration) *runtime.Host {
		return start(t, nc, runtime.Func("convert", runtime.OnBatch(s, "convert", runtime.Batch{Wait: wait},
			func(payload []byte, decode func([]byte) (*envelopev1.RawEnvelope, error)) (*envelopev1.RawEnvelope, error) {
				return decode(payload)
			},
			func(_ context.Context, batch []*envelopev1.RawEnvelope) error {
				done.Add(int64(len(batch)))
				return nil
			})))
	}
	first := instance(time.Hour)
	publish(t, nc, "one", "two", "three")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are in hand", func() bool {
		c, err := js.Consumer(t.Context(), s.Name, "convert")
		return err == nil && c.CachedInfo().NumAckPending == 3
	})
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	instance(time.Millisecond)
	eventually(t, "all are handled", func() bool { return done.Load() == 3 })
}

// TestBatchErrorOfAnotherLength has a handler tell of one message where there are two: nobody
// knows of which, and both come again.
func TestBatchErrorOfAnotherLength(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	var calls atomic.Int64
	start(t, nc, runtime.Func("store", runtime.OnBatch(testStreams().RawEnvelopes(), "convert", runtime.Batch{Size: 2, Wait: time.Minute}, whole, func(context.Context, []*envelopev1.RawEnvelope) error {
		if calls.Add(1) == 1 {
			return runtime.BatchError{errors.New("not now")}
		}
		return nil
	})))
	publish(t, nc, "one", "two")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are done", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == 2 && calls.Load() == 2
	})
}

// TestStopFinishesATransform stops while a message is being converted: its result is stored, and
// the message acknowledged.
func TestStopFinishesATransform(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	cfg := testStreams()
	begun, goOn := make(chan struct{}), make(chan struct{})
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Logger: slog.New(slog.DiscardHandler)}, runtime.Func("convert", runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
		func(*envelopev1.ProcessedEnvelope) []string { return []string{"o", "d"} },
		func(context.Context, *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
			close(begun)
			<-goOn
			return &envelopev1.ProcessedEnvelope{}, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "d")
	<-begun
	time.AfterFunc(300*time.Millisecond, func() { close(goOn) }) // when Stop waits
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
	if err != nil || c.CachedInfo().AckFloor.Stream != 1 {
		t.Errorf("the message is not acknowledged: %v", err)
	}
}

// TestStreamDeletedWhileBusy does so while the instance asks for nothing, so that the server has
// nobody to tell: the stream is made again, and what comes then is handled.
func TestStreamDeletedWhileBusy(t *testing.T) {
	t.Parallel()
	nc, js, goOn := busy(t, 100)
	if err := js.DeleteStream(t.Context(), "raw_envelopes"); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	eventually(t, "the stream is there again", func() bool {
		_, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil
	})
	publish(t, nc, "d")
	eventually(t, "what comes then is done", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == 1
	})
}
