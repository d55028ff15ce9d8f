package bench

import (
	"slices"
	"testing"
)

// TestMissed holds what --check, --tolerance and --tries let pass.
func TestMissed(t *testing.T) {
	t.Parallel()
	try := func(good bool, rate, cpu float64) *Report {
		return &Report{Good: good, Why: "loud", Goals: []Outcome{
			{What: "rate", Bound: 0.8, Value: rate, High: rate},
			{What: "cpu", Bound: 1.2, Value: cpu, High: cpu, Most: true},
		}}
	}
	slow := &Report{Good: true, Goals: []Outcome{{What: "p50", Bound: 260, Value: 300, High: 300, Most: true, time: true}}}
	for name, c := range map[string]struct {
		tolerance float64
		tries     []*Report
		want      []string
	}{
		"met":                  {1, []*Report{try(true, 0.8, 1.2)}, nil},
		"missed":               {1, []*Report{try(true, 0.79, 1.21)}, []string{"rate is 0.79, not 0.80", "cpu is 1.21, not 1.20"}},
		"within":               {0.9, []*Report{try(true, 0.73, 1.33)}, nil},
		"not within":           {0.9, []*Report{try(true, 0.71, 1.34)}, []string{"rate is 0.71, not 0.80", "cpu is 1.34, not 1.20"}},
		"each in another try":  {1, []*Report{try(true, 0.9, 2), try(true, 0.1, 1)}, nil},
		"best of three":        {1, []*Report{try(true, 0.5, 1), try(true, 0.7, 1), try(true, 0.6, 1)}, []string{"rate is 0.70, not 0.80"}},
		"loud":                 {1, []*Report{try(false, 1, 1)}, []string{"NOT a good run: loud"}},
		"loud once":            {1, []*Report{try(false, 1, 1), try(true, 1, 1)}, nil},
		"loud, with tolerance": {0.9, []*Report{try(false, 1, 1)}, nil},
		"not measured":         {0.9, []*Report{try(true, 0, 0)}, []string{"rate is 0.00, not 0.80", "cpu is 0.00, not 1.20"}},
		"a time":               {1, []*Report{slow}, []string{"p50 is 300.00, not 260.00"}},
		"a time, tolerance":    {0.9, []*Report{slow}, nil},
		"nothing":              {1, nil, []string{"nothing was measured"}},
	} {
		if got := Missed(c.tolerance, c.tries...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
