package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestFullOfLetters holds that where dead letters have no room, that is told, and bad
// messages wait until they have: each becomes a letter.
func TestFullOfLetters(t *testing.T) {
	t.Parallel()
	const messages, room = 200, 64 << 10 // those that fit are some 100
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	cfg.LetterBytes = room
	log := &runtimetest.Text{}
	h := startBad(t, nc, cfg, log)
	for range messages {
		sendRaw(t, js, "", "o", "d")
	}
	letters, err := js.Stream(t.Context(), cfg.DeadLetters().Name)
	if err != nil {
		t.Fatal(err)
	}
	const settled = `ponix_consumer_pending{consumer="convert",stream="raw_envelopes"} 0`
	runtimetest.Eventually(t, 30*time.Second, func() error {
		_, ratio, _ := strings.Cut(metrics(h), `ponix_stream_full_ratio{stream="dead_letters"} `)
		ratio, _, _ = strings.Cut(ratio, "\n")
		if full, err := strconv.ParseFloat(ratio, 64); err != nil || full < 0.9 || !strings.Contains(log.String(), "dead letters are filling up") {
			return fmt.Errorf("nobody says that it is full: %s", log)
		}
		return nil
	})
	if got := metrics(h); !strings.Contains(got, "ponix_consumer_pending") || strings.Contains(got, settled) {
		t.Errorf("nobody says that messages wait:\n%s", got)
	}
	var stats micro.Stats
	var data runtime.Data
	ask(t, nc, "$SRV.STATS.convert", &stats)
	if err := json.Unmarshal(stats.Endpoints[0].Data, &data); err != nil || data.Pending == nil || *data.Pending == 0 || *data.Pending > messages {
		t.Errorf("STATS says that nothing waits: %s, %v", stats.Endpoints[0].Data, err)
	}
	sources, rounds := map[string]bool{}, 0 // the sequences of the messages
	runtimetest.Eventually(t, time.Minute, func() error {
		info, err := letters.Info(t.Context())
		if err != nil {
			return err
		}
		for n := info.State.FirstSeq; n > 0 && n <= info.State.LastSeq; n++ {
			m, err := letters.GetMsg(t.Context(), n)
			if err != nil {
				return err
			}
			sources[m.Header.Get("Ponix-Sequence")] = true
		}
		if err := letters.Purge(t.Context(), jetstream.WithPurgeSequence(info.State.LastSeq+1)); err != nil {
			return err
		}
		if rounds++; len(sources) < messages {
			return fmt.Errorf("%d of %d", len(sources), messages)
		}
		return nil
	})
	if rounds < 2 {
		t.Error("there was room for all of them")
	}
	runtimetest.Eventually(t, 25*time.Second, func() error {
		if !strings.Contains(metrics(h), settled) {
			return errors.New("messages still wait")
		}
		return nil
	})
	if got := metrics(h); !strings.Contains(got, fmt.Sprintf(`ponix_dead_letters_total{binding="raw_envelopes/convert",function="convert"} %d`+"\n", messages)) {
		t.Errorf("what became a letter at the second attempt counts once:\n%s", got)
	}
	if err := js.DeleteStream(t.Context(), cfg.DeadLetters().Name); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if strings.Contains(metrics(h), `ponix_stream_full_ratio{stream="dead_letters"}`) {
			return errors.New("a stream that is gone is told of")
		}
		return nil
	})
}

// TestOldestLettersLost holds that nobody waits for bad messages where an operator would
// rather lose the oldest letters, and that a stream of before changes to that.
func TestOldestLettersLost(t *testing.T) {
	t.Parallel()
	const messages, room = 200, 64 << 10 // those that fit are some 100
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	cfg.LetterBytes = room
	if err := streams.Ensure(t.Context(), js, cfg.DeadLetters()); err != nil {
		t.Fatal(err)
	}
	cfg.LetterFull = "old"
	log := &runtimetest.Text{}
	startBad(t, nc, cfg, log)
	for range messages {
		sendRaw(t, js, "", "o", "d")
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		raw, err := js.Consumer(t.Context(), cfg.Raw, streams.Convert)
		if err != nil {
			return err
		}
		letters, err := js.Stream(t.Context(), cfg.DeadLetters().Name)
		if err != nil {
			return err
		}
		is, s := raw.CachedInfo(), letters.CachedInfo().State
		if is.AckFloor.Stream < messages || s.LastSeq < messages || s.FirstSeq == 1 || s.Bytes > room || !strings.Contains(log.String(), "the oldest are lost") {
			return fmt.Errorf("settled %d, letters %d to %d, %d bytes: %s", is.AckFloor.Stream, s.FirstSeq, s.LastSeq, s.Bytes, log)
		}
		return nil
	})
}

// startBad starts a function to which every message is one that cannot be handled.
func startBad(t *testing.T, nc *nats.Conn, cfg streams.Config, log io.Writer) *runtime.Host {
	t.Helper()
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Concurrency: 4, Logger: slog.New(slog.NewTextHandler(log, nil))}, runtime.Func("convert",
		runtime.OnMessage(cfg.RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error {
			return runtime.Terminate(errors.New("bad"))
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}
