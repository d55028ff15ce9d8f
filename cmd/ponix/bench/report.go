package bench

import (
	"fmt"
	"slices"
)

// tooLoud is the part of the CPU above which others have disturbed a run.
const tooLoud = 0.1

// Report is the outcome of a run, as `--format json` writes it.
type Report struct {
	Suite   string    `json:"suite"`
	About   string    `json:"about"`
	Metrics []Metric  `json:"-"`
	Cases   []*Result `json:"cases"`
	Goals   []Outcome `json:"goals"`
	Others  float64   `json:"others_cpu"` // part of the machine's CPU that others used while something was measured
	Good    bool      `json:"good"`
	Why     string    `json:"why,omitempty"` // it is not good

	spent usage
}

// Result is all that was measured of a case.
type Result struct {
	Name    string            `json:"name"`
	Figures map[Metric]Figure `json:"figures"`
}

// Figure is one figure of a case in every round.
type Figure struct {
	Median float64   `json:"median"`
	Spread float64   `json:"spread"` // (largest − smallest) / median
	Rounds []float64 `json:"rounds"`
}

func (f Figure) low() float64  { return slices.Min(f.Rounds) }
func (f Figure) high() float64 { return slices.Max(f.Rounds) }

// Outcome is what became of a goal. The ratio is the median of the rounds' own
// ratios: what disturbs a round disturbs both sides of it.
type Outcome struct {
	What  string  `json:"what"`
	Bound float64 `json:"bound"`
	Most  bool    `json:"at_most"`
	Value float64 `json:"value"`
	Low   float64 `json:"low"` // of the rounds, like High
	High  float64 `json:"high"`
	Met   bool    `json:"met"`

	time bool // not a ratio of two
}

func newReport(s Suite) *Report {
	r := &Report{Suite: s.Name, About: s.About, Metrics: s.Metrics, spent: usage{known: true}}
	for _, c := range s.Cases {
		r.Cases = append(r.Cases, &Result{c.Name, map[Metric]Figure{}})
	}
	return r
}

func (r *Report) result(name string) *Result {
	i := slices.IndexFunc(r.Cases, func(c *Result) bool { return c.Name == name })
	if i < 0 {
		return &Result{}
	}
	return r.Cases[i]
}

func (r *Report) add(name string, round *Round) {
	c := r.result(name)
	for m, v := range round.values {
		f := c.Figures[m]
		f.Rounds = append(f.Rounds, v)
		c.Figures[m] = f
	}
	r.spent = r.spent.plus(round.spent)
}

func (r *Report) finish(goals []Goal) {
	for _, c := range r.Cases {
		for m, f := range c.Figures {
			f.Median = median(f.Rounds)
			if f.Median != 0 {
				f.Spread = (f.high() - f.low()) / f.Median
			}
			c.Figures[m] = f
		}
	}
	for _, g := range goals {
		r.Goals = append(r.Goals, r.judge(g))
	}
	r.Others = r.spent.others()
	switch {
	case !r.spent.known:
		r.Why = "how much CPU others used is not known here"
	case r.Others > tooLoud:
		r.Why = fmt.Sprintf("others used %.0f %% of the CPU, %.0f %% at most is good", 100*r.Others, 100*tooLoud)
	case r.spent.throttled() > tooLoud:
		r.Why = fmt.Sprintf("a limit of CPU held everything up for %.0f %% of the time, %.0f %% at most is good", 100*r.spent.throttled(), 100*tooLoud)
	default:
		r.Good = true
	}
}

// judge holds a goal to what was measured.
func (r *Report) judge(g Goal) Outcome {
	o := Outcome{What: fmt.Sprintf("%s of %s", g.Metric, g.Of), Bound: g.Bound, Most: g.AtMost, time: g.Base == "" && g.Metric.time()}
	values := r.result(g.Of).Figures[g.Metric].Rounds
	if g.Base != "" {
		o.What += " ÷ " + g.Base
		values = ratios(values, r.result(g.Base).Figures[g.Metric].Rounds)
	}
	if len(values) == 0 {
		return o // not measured, not met
	}
	o.Value, o.Low, o.High = median(values), slices.Min(values), slices.Max(values)
	o.Met = o.Value >= g.Bound // always, where there is no bound
	if g.AtMost {
		o.Met = o.Value <= g.Bound
	}
	return o
}

func ratios(a, b []float64) (out []float64) {
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// median of no values is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
