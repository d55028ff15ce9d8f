package main

import (
	"fmt"
	"os"
	"strings"

	"ponix/cmd/ponix/bench"
)

// benchCommand measures Ponix beside its limits; see package bench.
type benchCommand struct {
	Convert benchConvert `cmd:"" help:"Expressions: payload to JSON, without engines."`
}

// measured is what every suite takes.
type measured struct {
	format
	Rounds int  `default:"5" help:"Rounds that count, after one that does not."`
	Check  bool `help:"Fail where a goal is missed, or others used more than a tenth of the CPU."`
}

// show runs a suite and shows what came of it.
func (m measured) show(e *env, s bench.Suite) error {
	if m.Rounds < 1 {
		return &usageError{fmt.Errorf("--rounds must be at least 1")}
	}
	r, err := bench.Run(e.ctx, s, bench.Options{Rounds: m.Rounds, Progress: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}})
	if err != nil {
		return err
	}
	if m.Format == "json" {
		err = e.out.json(r)
	} else {
		m.print(e.out, r)
	}
	if err != nil || !m.Check {
		return err
	}
	return failed(r)
}

func (measured) print(out *output, r *bench.Report) {
	fmt.Fprintln(out, r.About)
	out.table(r.Table())
	if len(r.Goals) > 0 {
		fmt.Fprintln(out)
		out.table(r.GoalTable())
	}
	colour := green
	if !r.Good {
		colour = red
	}
	fmt.Fprintf(out, "%s\n\n", out.paint(colour, r.Verdict()))
}

// failed says why a run does not pass.
func failed(r *bench.Report) error {
	var why []string
	for _, g := range r.Goals {
		if !g.Met {
			why = append(why, fmt.Sprintf("%s is %.2f, not %.2f", g.What, g.Value, g.Bound))
		}
	}
	if !r.Good {
		why = append(why, r.Verdict())
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", r.Suite, strings.Join(why, "; "))
}

type benchConvert struct {
	measured
	Count int `default:"100000" help:"Payloads in a round."`
}

func (c *benchConvert) Run(e *env) error {
	s, err := bench.Convert(c.Count)
	if err != nil {
		return err
	}
	return c.show(e, s)
}
