package deadletter_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// queue has so many letters of so many bytes, of messages that have a header of the server's.
func queue(t *testing.T, n, size int) (*nats.Conn, *deadletter.Queue) {
	t.Helper()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "dead_letters", Subjects: []string{"dead_letters.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		l := deadletter.Letter{Function: "f", Reason: "R", Subject: "s.x", Sequence: uint64(i + 1), Stored: time.Now(),
			Header: nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}, Payload: make([]byte, size)}
		if _, err := js.PublishMsg(t.Context(), l.Message("dead_letters")); err != nil {
			t.Fatal(err)
		}
	}
	q, err := deadletter.Open(t.Context(), js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	return nc, q
}

// TestEachWhileLettersAreDropped has somebody drop the last letters: the list ends.
func TestEachWhileLettersAreDropped(t *testing.T) {
	t.Parallel()
	_, q := queue(t, 600, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	seen := 0
	err := q.Each(ctx, deadletter.Filter{}, func(deadletter.Letter) error {
		if seen++; seen == 1 {
			for n := uint64(501); n <= 600; n++ {
				if err := q.Drop(ctx, deadletter.Letter{Number: n}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || seen != 500 {
		t.Errorf("saw %d of 500, then %v", seen, err)
	}
}

// TestEachOfLargeLetters lists more bytes than a NATS server has wait for a connection.
func TestEachOfLargeLetters(t *testing.T) {
	t.Parallel()
	const letters = 80
	nc, q := queue(t, letters, 1_000_000)
	seen := 0
	if err := q.Each(t.Context(), deadletter.Filter{}, func(deadletter.Letter) error { seen++; return nil }); err != nil {
		t.Fatal(err)
	}
	if n := nc.Stats().Reconnects; seen != letters || n > 0 {
		t.Errorf("saw %d of %d letters, with %d reconnects", seen, letters, n)
	}
}

// TestDropTwice drops what is there, what was, and what never was or could be.
func TestDropTwice(t *testing.T) {
	t.Parallel()
	_, q := queue(t, 1, 0)
	for i, n := range []uint64{1, 1, 2, 0} {
		if err := q.Drop(t.Context(), deadletter.Letter{Number: n}); i == 0 && err != nil || i > 0 && !errors.Is(err, deadletter.ErrNotFound) {
			t.Errorf("%d: %v", n, err)
		}
		if _, err := q.Get(t.Context(), n); !errors.Is(err, deadletter.ErrNotFound) {
			t.Errorf("%d is still there: %v", n, err)
		}
	}
}

// TestReplayThatFails has nobody take the message of a letter, and then somebody, while the letter
// has only a part of it: the letter stays, and nothing is published.
func TestReplayThatFails(t *testing.T) {
	t.Parallel()
	nc, q := queue(t, 1, 10)
	l, err := q.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Replay(t.Context(), l); err == nil {
		t.Error("it was replayed, and no stream has its subject")
	}
	published, err := nc.SubscribeSync("s.x")
	if err != nil {
		t.Fatal(err)
	}
	l.Size = 20
	if err := q.Replay(t.Context(), l); !errors.Is(err, deadletter.ErrIncomplete) {
		t.Errorf("with a part of its payload: %v", err)
	}
	if _, err := q.Get(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if n, _, err := published.Pending(); err != nil || n > 0 {
		t.Errorf("%d messages were published, %v", n, err)
	}
}
