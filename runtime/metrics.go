package runtime

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// counters count the calls of one binding. Messages of a batch count singly.
type counters struct {
	requests    atomic.Int64
	failures    atomic.Int64
	nanoseconds atomic.Int64
	inFlight    atomic.Int64
	retried     atomic.Int64 // messages given back for redelivery
	deadLetters atomic.Int64
	lastError   atomic.Pointer[string]
	gauges      sync.Map // name → float64
}

// metrics counts calls, errors and time for $SRV.STATS and for Prometheus.
func metrics(n *counters, next handler) handler {
	return func(ctx context.Context, c *call) ([]byte, error) {
		n.inFlight.Add(int64(c.messages))
		out, err := next(ctx, c)
		n.inFlight.Add(-int64(c.messages))
		n.nanoseconds.Add(int64(time.Since(c.began)))
		if err != nil && c.messages > 1 && errors.As(err, new(*panicError)) {
			return out, err // its halves are tried, and count
		}
		n.count(c.messages, err)
		return out, err
	}
}

// count adds a call of so many messages.
func (n *counters) count(messages int, err error) {
	n.requests.Add(int64(messages))
	if err != nil {
		n.failures.Add(failedOf(err, messages))
		n.lastError.Store(new(publicStatus(err).Message()))
	}
}

// failedOf is how many of a call's messages failed.
func failedOf(err error, messages int) int64 {
	var batch BatchError
	if !errors.As(err, &batch) {
		return int64(messages)
	}
	var failed int64
	for _, e := range batch {
		if e != nil {
			failed++
		}
	}
	return failed
}
