package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// newHistogram holds 1 µs to 10 minutes with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600e6, 3) }

func record(h *hdrhistogram.Histogram, d time.Duration) {
	h.RecordValue(min(max(d.Microseconds(), 1), h.HighestTrackableValue())) //nolint:errcheck // it is within the range
}

// percentiles notes what h has.
func (r *Round) percentiles(h *hdrhistogram.Histogram) {
	for m, q := range map[Metric]float64{P50: 50, P90: 90, P99: 99, P999: 99.9} {
		r.Set(m, float64(h.ValueAtQuantile(q)))
	}
	r.Set(Max, float64(h.Max()))
}

// warm is how long a closed loop runs before it counts.
const warm = 200 * time.Millisecond

// closedLoop lets n callers call one call after the other for d.
func closedLoop(ctx context.Context, r *Round, n int, d time.Duration, f call) error {
	errs := make([]error, n)
	histograms := make([]*hdrhistogram.Histogram, n)
	began := time.Now()
	from, until := began.Add(warm), began.Add(warm+d)
	var all sync.WaitGroup
	for i := range n {
		h := newHistogram()
		histograms[i] = h
		all.Go(func() {
			for errs[i] == nil {
				at := time.Now()
				if at.After(until) {
					return
				}
				if errs[i] = f(ctx); at.After(from) {
					record(h, time.Since(at))
				}
			}
		})
	}
	time.Sleep(time.Until(from))
	r.Start()
	r.from.at = from // since when calls count, however late this goroutine got to run
	all.Wait()
	sum := newHistogram()
	for _, h := range histograms {
		sum.Merge(h)
	}
	r.Stop(int(sum.TotalCount()))
	r.percentiles(sum)
	return errors.Join(errs...)
}
