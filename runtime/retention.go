package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
)

// retentionEvery is how often a stream's settled messages are looked at, and
// lettersEvery how full that of the dead letters is.
const (
	retentionEvery = time.Second
	lettersEvery   = 10 * time.Second
)

// retain watches a trigger's stream and that of the dead letters. Settled messages are
// purged when the replay window has passed or the stream is half full, so that a stream
// that refuses messages is full of unsettled ones. It warns well before that.
//
// Streams keep messages by limits, not by interest: that way a replay window is
// possible, and a consumer that is created late misses nothing. Any number of
// hosts may do this at once.
func (h *Host) retain(t *trigger, stream jetstream.Stream) {
	h.watchStream(t.stream.Name, retentionEvery, func(ctx context.Context) error { return h.purge(ctx, t, stream) })
	letters := h.Streams.DeadLetters()
	h.watchStream(letters.Name, lettersEvery, func(ctx context.Context) error { return h.countLetters(ctx, letters) })
}

// watchStream calls check every so often, for each stream once.
func (h *Host) watchStream(name string, every time.Duration, check func(context.Context) error) {
	if h.watched[name] {
		return
	}
	h.watched[name] = true
	h.watch.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-h.watching.Done():
				return
			case <-tick.C:
				ctx, cancel := context.WithTimeout(h.watching, 5*time.Second)
				err := check(ctx)
				cancel()
				if err != nil && h.watching.Err() == nil && h.Conn.IsConnected() {
					h.Logger.Warn("retention", "stream", name, "error", err)
				}
			}
		}
	})
}

// countLetters warns before the dead letters have no room: they are nobody's to purge.
func (h *Host) countLetters(ctx context.Context, letters streams.Stream) error {
	stream, err := h.js.Stream(ctx, letters.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // it is made with the next letter
		h.full.Delete(letters.Name)
		return nil
	}
	if err != nil {
		return err
	}
	if filled := h.filled(stream.CachedInfo()); filled > fullAt {
		then := "bad messages stay in the streams of envelopes until those are full, too"
		if stream.CachedInfo().Config.Discard == jetstream.DiscardOld {
			then = "the oldest are lost"
		}
		h.Logger.Warn("dead letters are filling up their stream; when it is full, "+then+": see ponix dlq",
			"stream", letters.Name, "full_percent", int(100*filled))
	}
	return nil
}

// filled notes how full a stream is; 0 where it may hold any number of bytes. Its limit
// may be another than was configured here: somebody has changed it meanwhile.
func (h *Host) filled(info *jetstream.StreamInfo) float64 {
	limit := info.Config.MaxBytes
	if limit <= 0 {
		return 0
	}
	filled := float64(info.State.Bytes) / float64(limit)
	h.full.Store(info.Config.Name, filled)
	return filled
}

// fullAt and purgeAt are fractions of a stream's bytes.
const (
	fullAt  = 0.8
	purgeAt = 0.5
)

func (h *Host) purge(ctx context.Context, t *trigger, stream jetstream.Stream) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	spec := t.stream
	filled := h.filled(info)
	if info.State.Msgs == 0 {
		h.pending.Store(consumerKey{spec.Name, t.consumer}, uint64(0))
		h.eachPending(spec.Name, func(of consumerKey) { h.pending.Store(of, uint64(0)) })
		return nil
	}
	if filled > fullAt {
		h.Logger.Warn("a stream is filling up with messages that are not settled; when it is full it refuses new ones",
			"stream", spec.Name, "full_percent", int(100*filled))
	}
	first := info.State.FirstSeq
	upTo, err := h.ackFloor(ctx, stream, info.State)
	if err != nil {
		return err
	}
	if upTo < info.State.LastSeq {
		if err := h.buryStatus(ctx, stream, t.function, max(upTo+1, first)); err != nil {
			return err
		}
	}
	if upTo < first {
		return nil
	}
	switch end := time.Now().Add(-spec.Window); {
	case filled > purgeAt:
		upTo = first + (upTo-first)/2 // the older half; the rest in a second, if need be
	case !info.State.FirstTime.Before(end):
		return nil
	default:
		if upTo, err = h.lastBefore(ctx, spec.Name, first, upTo, end); err != nil {
			return err
		}
	}
	if upTo < first {
		return nil
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
}

// ackFloor is the sequence up to which every durable consumer has settled all. A
// cluster leaves out those whose leader does not answer: then nothing is settled.
func (h *Host) ackFloor(ctx context.Context, stream jetstream.Stream, state jetstream.StreamState) (uint64, error) {
	floor, seen := ^uint64(0), map[string]bool{}
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		seen[c.Name] = true
		if c.Config.Durable != "" {
			h.pending.Store(consumerKey{c.Stream, c.Name}, c.NumPending+uint64(c.NumAckPending))
		}
		if c.Config.Durable != "" && floor > 0 {
			its, err := h.floorOf(ctx, c, state.LastSeq)
			if err != nil {
				return 0, err
			}
			floor = min(floor, its)
		}
	}
	if list.Err() != nil {
		return 0, list.Err()
	}
	if len(seen) < state.Consumers {
		return 0, nil
	}
	h.eachPending(stream.CachedInfo().Config.Name, func(of consumerKey) {
		if !seen[of.consumer] {
			h.pending.Delete(of)
		}
	})
	if floor == ^uint64(0) {
		return 0, nil // no consumer yet: nothing is settled
	}
	return floor, nil
}

// pendingOf is how many messages a consumer has not settled, nil where it is not known.
func (h *Host) pendingOf(stream, consumer string) *uint64 {
	n, ok := h.pending.Load(consumerKey{stream, consumer})
	if !ok {
		return nil
	}
	return new(n.(uint64))
}

// eachPending calls f for each consumer of a stream whose messages are counted.
func (h *Host) eachPending(stream string, f func(consumerKey)) {
	h.pending.Range(func(key, _ any) bool {
		if of := key.(consumerKey); of.stream == stream {
			f(of)
		}
		return true
	})
}

// floorOf is the sequence up to which a consumer has settled all, last at most if it
// filters: it has nothing to do with what comes before the next message that it wants.
func (h *Host) floorOf(ctx context.Context, c *jetstream.ConsumerInfo, last uint64) (uint64, error) {
	filters := c.Config.FilterSubjects
	if c.Config.FilterSubject != "" {
		filters = []string{c.Config.FilterSubject}
	}
	if len(filters) == 0 {
		return c.AckFloor.Stream, nil
	}
	floor := max(last, c.AckFloor.Stream)
	for _, filter := range filters {
		m, err := h.nextMessage(ctx, c.Stream, c.AckFloor.Stream+1, filter)
		if err != nil {
			return 0, err
		}
		if m != nil {
			floor = min(floor, m.Sequence-1)
		}
	}
	return floor, nil
}

// lastBefore returns the last sequence in first..last that was stored before t,
// or first-1. Some of them may have been deleted.
func (h *Host) lastBefore(ctx context.Context, stream string, first, last uint64, t time.Time) (uint64, error) {
	low, high := first, last+1 // the answer is low-1 when they meet
	for probe := first; low < high; probe = low + (high-low)/2 {
		m, err := h.nextMessage(ctx, stream, probe, ">")
		switch {
		case err != nil:
			return 0, err
		case m == nil || m.Sequence > last || !m.Time.Before(t):
			high = probe
		default:
			low = m.Sequence + 1
		}
	}
	return low - 1, nil
}
