package main

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
)

// TestReplayPastWhatCannotBe replays all letters, one of which has a part of its payload
// alone and one of which is none of ours: the others are replayed, and those are told of.
func TestReplayPastWhatCannotBe(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	env := []string{"PONIX_NATS_URL=" + srv.ClientURL()}
	must(t, env, "streams")
	js, err := jetstream.New(runtimetest.Connect(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{1, 5000, 0, 1} {
		l := deadletter.Letter{Function: "convert", Reason: "BAD", Subject: "raw_envelopes.o.d", Sequence: uint64(i + 1), Stored: time.Now(), Payload: make([]byte, size)}
		if size == 0 {
			l.Subject = ""
		}
		if _, err := js.PublishMsg(t.Context(), deadletter.ShortenPayload(l.Message("dead_letters"))); err != nil {
			t.Fatal(err)
		}
	}
	out, err := call(t, env, "dlq", "replay", "--reason", "bad")
	const want = "exit code 1: ponix: 2 left, the first: dead letter 2 has only the first 4096 of 5000 bytes, as it was too large to keep: it cannot be replayed"
	if err == nil || err.Error() != want || out != "2 replayed\n" {
		t.Errorf("got %v and %q", err, out)
	}
	if s, err := js.Stream(t.Context(), "raw_envelopes"); err != nil || s.CachedInfo().State.Msgs != 2 {
		t.Errorf("not 2 are replayed, %v", err)
	}
	if s, err := js.Stream(t.Context(), "dead_letters"); err != nil || s.CachedInfo().State.Msgs != 2 {
		t.Errorf("not 2 are left, %v", err)
	}
}
