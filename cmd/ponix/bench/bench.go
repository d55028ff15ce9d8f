// Package bench measures Ponix beside its limits: each suite runs the product and
// the bare loop that does the same work with nothing around it, one after the
// other, round after round, in one process and on the same engines. Absolute
// figures depend on the machine and on the hour; the ratios of one run do not.
//
// A limit loop stands in a file of its own, which says what the loop leaves out.
package bench

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Suite is what is compared in one run.
type Suite struct {
	Name    string
	About   string
	Metrics []Metric // in the order of the table
	Cases   []Case
	Goals   []Goal
}

// Only keeps the cases whose names have part in them, and the goals that they can meet
// or miss. There must be a case.
func (s *Suite) Only(part string) error {
	all := s.Cases
	out := map[string]bool{}
	s.Cases = nil
	for _, c := range all {
		if out[c.Name] = !strings.Contains(c.Name, part); !out[c.Name] {
			s.Cases = append(s.Cases, c)
		}
	}
	if len(s.Cases) == 0 {
		return fmt.Errorf("no case of %s has %q in its name, which are %q", s.Name, part, slices.Sorted(maps.Keys(out)))
	}
	s.Goals = slices.DeleteFunc(s.Goals, func(g Goal) bool { return out[g.Of] || out[g.Base] })
	return nil
}

// Case is one competitor. Run measures once, and is called once a round.
type Case struct {
	Name string
	Run  func(context.Context, *Round) error
}

// Metric is a figure of a case.
type Metric string

// The figures that cases have.
const (
	Rate   Metric = "per second"
	CPU    Metric = "CPU µs each"         // of the process tree: engines that were started included
	Own    Metric = "Ponix's CPU µs each" // of the process of Ponix alone, where it is one of its own
	P50    Metric = "p50 µs"
	P90    Metric = "p90 µs"
	P99    Metric = "p99 µs"
	P999   Metric = "p99.9 µs"
	Max    Metric = "max µs"
	Time   Metric = "ns each"
	Allocs Metric = "allocations"
	Took   Metric = "ms"
	RSS    Metric = "RSS MiB" // of the process of Ponix, where it is one of its own
)

// time tells whether it is one: it depends on the machine as much as on what is measured.
func (m Metric) time() bool {
	return slices.Contains([]Metric{P50, P90, P99, P999, Max, Time, Took}, m)
}

// Goal bounds the ratio of a figure of one case to that of another; without a Base
// the figure itself. Without a Bound it is only shown.
type Goal struct {
	Of, Base string
	Metric   Metric
	Bound    float64
	AtMost   bool // otherwise at least
}

// Options are those of a run.
type Options struct {
	Rounds   int                              // measured, after one that is not; at least 1
	Progress func(format string, args ...any) // told of each round; may be nil
}

// Run runs a suite's cases, interleaved: each round runs every case, and begins
// with another one than the round before.
func Run(ctx context.Context, s Suite, o Options) (*Report, error) {
	r := newReport(s)
	for n := range o.Rounds + 1 {
		for i := range s.Cases {
			c := s.Cases[(i+n)%len(s.Cases)]
			round := newRound()
			runtime.GC() // what one case leaves is not the next one's to collect
			if err := c.Run(ctx, round); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", s.Name, c.Name, err)
			}
			if n == 0 {
				continue // caches, files and heaps get warm
			}
			r.add(c.Name, round)
			if o.Progress != nil {
				o.Progress("%s  round %d of %d  %s  %s", s.Name, n, o.Rounds, c.Name, round)
			}
		}
	}
	r.finish(s.Goals)
	return r, ctx.Err()
}

// Round is one measurement of one case.
type Round struct {
	values map[Metric]float64
	from   usage
	spent  usage // between Start and Stop
}

func newRound() *Round { return &Round{values: map[Metric]float64{}} }

// Start begins what is measured.
func (r *Round) Start() { r.from = readUsage() }

// Stop ends it. n is how many messages, rows or calls were handled since Start.
func (r *Round) Stop(n int) {
	r.spent = readUsage().minus(r.from)
	r.values[Rate] = float64(n) / r.spent.wall.Seconds()
	if r.spent.known && n > 0 {
		r.values[CPU] = float64(r.spent.ours) / float64(n) / float64(time.Microsecond)
	}
}

// Set notes a figure that Stop does not.
func (r *Round) Set(m Metric, v float64) { r.values[m] = v }

// String is the round's first figures, for progress.
func (r *Round) String() string {
	for _, m := range []Metric{P50, Time, Took, Rate, RSS} {
		if v, ok := r.values[m]; ok {
			return fmt.Sprintf("%s %s", number(v), m)
		}
	}
	return ""
}
