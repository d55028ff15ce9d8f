package bench

import "fmt"

// Missed says what was wrong with every try: a goal was met in none of them, where
// the part tolerance of it is enough, or others used too much of the CPU each time.
// Where tolerance is below 1, for a machine that is slow or shared, the latter is no
// matter, and neither is a time that is not compared with another.
func Missed(tolerance float64, tries ...*Report) (why []string) {
	if len(tries) == 0 {
		return []string{"nothing was measured"}
	}
	last := tries[len(tries)-1]
	for i, g := range last.Goals {
		met, best := g.time && tolerance < 1, g.Value
		for _, r := range tries {
			o := r.Goals[i]
			met = met || o.within(tolerance)
			if o.Value != 0 && (o.Value > best) != o.Most {
				best = o.Value
			}
		}
		if !met {
			why = append(why, fmt.Sprintf("%s is %.2f, not %.2f", g.What, best, g.Bound))
		}
	}
	good := tolerance < 1
	for _, r := range tries {
		good = good || r.Good
	}
	if !good {
		why = append(why, last.Verdict())
	}
	return why
}

// within tells whether at least the part tolerance of a goal was reached.
func (o Outcome) within(tolerance float64) bool {
	switch {
	case o.High == 0:
		return false // not measured
	case o.Most:
		return o.Value*tolerance <= o.Bound
	default:
		return o.Value >= o.Bound*tolerance
	}
}
