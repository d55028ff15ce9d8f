package bench

import (
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
