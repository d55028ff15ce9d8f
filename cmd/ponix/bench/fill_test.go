package bench

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"ponix/nats/streams"
)

// TestRaw names a stream that does not take all, and has room for large envelopes twice.
func TestRaw(t *testing.T) {
	t.Parallel()
	_, err := world(t, Engines{}).raw(t.Context(), "twice", 2, func(to streams.Stream, _ int) (*nats.Msg, error) {
		return envelopeOf(to, 0, deviceID(0), sample)
	})
	if err == nil || err.Error() != "raw_twice took 1 of 2 envelopes" {
		t.Error(err)
	}
	const size = 250_000
	for n, want := range map[int]int64{0: 1 << 30, 1000: 1 << 30, 5000: 2 * 5000 * size} {
		if got := room(n, &nats.Msg{Data: make([]byte, size)}); got < want || got > want*11/10 {
			t.Errorf("%d envelopes have room in %d bytes, want %d", n, got, want)
		}
	}
}

// TestBuried has envelopes become dead letters, which are as settled as others.
func TestBuried(t *testing.T) {
	t.Parallel()
	w := world(t, Engines{})
	if err := w.directory(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := w.raw(t.Context(), "bad", 2, func(to streams.Stream, i int) (*nats.Msg, error) {
		return envelopeOf(to, i, deviceID(0), []byte{0xff})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.buried(t.Context()); err != nil {
		t.Error(err)
	}
	c, err := p.convert(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // all is settled
	if err := measure(t.Context(), newRound(), 2, p.settled(p.config.Streams.RawEnvelopes(), streams.Convert)); err != nil {
		t.Fatal(err)
	}
	if err := p.buried(t.Context()); err == nil || !strings.Contains(err.Error(), "2 envelopes became dead letters, the last of them by EVALUATION_FAILED: ") {
		t.Error(err)
	}
}
