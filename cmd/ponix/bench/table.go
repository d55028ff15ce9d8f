package bench

import (
	"fmt"
	"strconv"
)

// Table is the cases with the medians of their figures, each with its spread.
func (r *Report) Table() (header []string, rows [][]string) {
	header = append(header, r.Suite)
	for _, m := range r.Metrics {
		header = append(header, string(m), "±")
	}
	for _, c := range r.Cases {
		row := []string{c.Name}
		for _, m := range r.Metrics {
			f, measured := c.Figures[m]
			if !measured {
				row = append(row, "", "")
				continue
			}
			row = append(row, number(f.Median), fmt.Sprintf("%.0f %%", 50*f.Spread))
		}
		rows = append(rows, row)
	}
	return header, rows
}

// GoalTable is what became of the goals; nothing where there are none.
func (r *Report) GoalTable() (header []string, rows [][]string) {
	header = []string{"goal", "bound", "is", "rounds", ""}
	for _, g := range r.Goals {
		bound, met := "≥ ", "missed"
		if g.Most {
			bound = "≤ "
		}
		if g.Met {
			met = "met"
		}
		bound += fmt.Sprintf("%.2f", g.Bound)
		if g.Bound == 0 { // to be seen, and no more
			bound, met = "", ""
		}
		rows = append(rows, []string{
			g.What, bound, fmt.Sprintf("%.2f", g.Value),
			fmt.Sprintf("%.2f to %.2f", g.Low, g.High), met,
		})
	}
	return header, rows
}

// Verdict is one line on how far the run can be trusted.
func (r *Report) Verdict() string {
	if r.Good {
		return fmt.Sprintf("a good run: others used %.0f %% of the CPU", 100*r.Others)
	}
	return "NOT a good run: " + r.Why
}

// number is v with three digits or more, and spaces between the thousands.
func number(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
