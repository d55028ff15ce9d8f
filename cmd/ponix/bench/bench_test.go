package bench

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRunInterleaves holds the order of the rounds, and that the first is thrown
// away.
func TestRunInterleaves(t *testing.T) {
	t.Parallel()
	var order []string
	competitor := func(name string, values ...float64) Case {
		return Case{name, func(_ context.Context, r *Round) error {
			order = append(order, name)
			r.Set(Rate, values[0])
			values = values[1:]
			return nil
		}}
	}
	s := Suite{Name: "s", Metrics: []Metric{Rate}, Cases: []Case{
		competitor("limit", 1, 100, 200, 50), competitor("ours", 1000, 90, 100, 45),
	}, Goals: []Goal{
		{Of: "ours", Base: "limit", Metric: Rate, Bound: 0.9},
		{Of: "ours", Base: "limit", Metric: Rate, Bound: 0.8, AtMost: true},
		{Of: "ours", Base: "nothing", Metric: Rate},
	}}
	r, err := Run(t.Context(), s, Options{Rounds: 3})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "limit ours ours limit limit ours ours limit" {
		t.Error(got)
	}
	f := r.result("limit").Figures[Rate]
	if f.Median != 100 || f.Spread != 1.5 || len(f.Rounds) != 3 {
		t.Errorf("%+v", f)
	}
	want := []Outcome{
		{What: "per second of ours ÷ limit", Bound: 0.9, Value: 0.9, Low: 0.5, High: 0.9, Met: true},
		{What: "per second of ours ÷ limit", Bound: 0.8, Most: true, Value: 0.9, Low: 0.5, High: 0.9},
		{What: "per second of ours ÷ nothing"},
	}
	if !slices.Equal(r.Goals, want) {
		t.Errorf("%+v", r.Goals)
	}
	header, rows := r.Table()
	if len(header) != 3 || rows[0][1] != "100" || rows[0][2] != "75 %" {
		t.Error(header, rows)
	}
	if _, rows := r.GoalTable(); rows[0][4] != "met" || rows[1][4] != "missed" {
		t.Error(rows)
	}
}

// TestOnly holds the goals that stay to those of cases that run: one whose case never
// was there is missed, and not left out.
func TestOnly(t *testing.T) {
	t.Parallel()
	suite := func() *Suite {
		return &Suite{Name: "s", Cases: []Case{{Name: "ours, 1"}, {Name: "ours, 64"}, {Name: "limit, 64"}}, Goals: []Goal{
			{Of: "ours, 64", Base: "limit, 64"}, {Of: "ours, 1", Base: "limit, 64"}, {Of: "ours, 64", Base: "ours, 1"}, {Of: "ours, 64"}, {Of: "gone, 64"},
		}}
	}
	s := suite()
	if err := s.Only("64"); err != nil {
		t.Fatal(err)
	}
	if want := []Goal{{Of: "ours, 64", Base: "limit, 64"}, {Of: "ours, 64"}, {Of: "gone, 64"}}; len(s.Cases) != 2 || !slices.Equal(s.Goals, want) {
		t.Errorf("%d cases, %+v", len(s.Cases), s.Goals)
	}
	if err := suite().Only("65"); err == nil || !strings.Contains(err.Error(), `"ours, 64"`) {
		t.Errorf("got %v", err)
	}
}

func TestRunNamesWhatFailed(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	_, err := Run(t.Context(), Suite{Name: "s", Cases: []Case{{"c", func(context.Context, *Round) error { return bad }}}}, Options{Rounds: 1})
	if !errors.Is(err, bad) || err.Error() != "s, c: bad" {
		t.Error(err)
	}
}

// TestVerdict holds the refusal to call a run good that others have disturbed.
func TestVerdict(t *testing.T) {
	t.Parallel()
	second := usage{wall: time.Second, known: true}
	for _, c := range []struct {
		name  string
		spent usage
		good  bool
	}{
		{"quiet", usage{wall: second.wall, ours: time.Second, all: time.Second, known: true}, true},
		{"others", usage{wall: second.wall, ours: 0, all: 100 * time.Second, known: true}, false},
		{"unknown", usage{wall: second.wall}, false},
		{"throttled a little", usage{wall: second.wall, held: 50 * time.Millisecond, known: true}, true},
		{"throttled", usage{wall: second.wall, held: 300 * time.Millisecond, known: true}, false},
	} {
		r := newReport(Suite{})
		r.spent = r.spent.plus(c.spent)
		r.finish(nil)
		if r.Good != c.good || strings.HasPrefix(r.Verdict(), "NOT") == c.good {
			t.Errorf("%s: %s", c.name, r.Verdict())
		}
	}
}

// TestUsageHasChildren holds that what a child uses is ours, while it runs and
// after it has ended.
func TestUsageHasChildren(t *testing.T) {
	t.Parallel()
	before := readUsage()
	if !before.known {
		t.Fatal("there is no /proc")
	}
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	grown := func() bool {
		u := readUsage().minus(before)
		return u.ours >= 100*time.Millisecond && u.others() >= 0
	}
	for deadline := time.Now().Add(30 * time.Second); !grown(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child's CPU does not count")
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !grown() {
		t.Error("the CPU of a child that has ended does not count")
	}
}

// TestClockRunsAllTheTime holds that nothing counts that was done before the clock ran.
func TestClockRunsAllTheTime(t *testing.T) {
	t.Parallel()
	before := time.Now()
	u := readUsage()
	if late, took := u.at.Sub(before), time.Since(before); late > took/2 {
		t.Errorf("the time is that of %v after the beginning of %v", late, took)
	}
	r, d := newRound(), 50*time.Millisecond
	if err := closedLoop(t.Context(), r, clients, d, func(context.Context) error {
		for began := time.Now(); time.Since(began) < 100*time.Microsecond; {
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if r.spent.wall < d {
		t.Errorf("calls of %v counted, and %v of the time", d, r.spent.wall)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	p, ok := parseStat([]byte("12 (a) b (c) S 7 1 1 0 -1 4 0 0 0 0 10 20 3 4 20 0 1 0 5 6"))
	if !ok || p != (process{12, 7, 370 * time.Millisecond}) {
		t.Error(p, ok)
	}
	for _, bad := range []string{"", "12", "12 (a", "x (a) S 7", "12 (a) S 7 1"} {
		if _, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q was read", bad)
		}
	}
	if got := descendants(1, []process{{3, 2, 3}, {2, 1, 2}, {9, 8, 9}}); len(got) != 2 || got[3] != 3 {
		t.Error(got)
	}
	if _, ok := descendants(os.Getpid(), nil)[1]; ok {
		t.Error("init is below us")
	}
}

// TestHeldBack reads what both versions of control groups tell, in a container and out of one.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		groups, file, stat string
		want               time.Duration
	}{
		"version 2":    {"0::/a/b\n", "a/b/cpu.stat", "usage_usec 9\nthrottled_usec 5\n", 5 * time.Microsecond},
		"a container":  {"0::/docker/1\n", "cpu.stat", "nr_throttled 1\nthrottled_usec 5\n", 5 * time.Microsecond},
		"version 1":    {"4:memory:/a\n1:cpu:/a\n0::/\n", "cpu/a/cpu.stat", "nr_throttled 1\nthrottled_time 5\n", 5},
		"no limit":     {"0::/\n", "cpu.stat", "usage_usec 9\n", 0},
		"no hierarchy": {"0::/\n", "other", "", 0},
	} {
		dir := t.TempDir()
		file, groups := filepath.Join(dir, c.file), filepath.Join(dir, "groups")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(c.stat), 0o644), os.WriteFile(groups, []byte(c.groups), 0o644)); err != nil {
			t.Fatal(err)
		}
		if got := heldBack(groups, dir); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := heldBack("/nowhere", "/nowhere"); got != 0 {
		t.Error(got)
	}
}

func TestMedianAndNumber(t *testing.T) {
	t.Parallel()
	if median(nil) != 0 || median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1, 2, 3}) != 2.5 {
		t.Error("median")
	}
	for v, want := range map[float64]string{1.234: "1.23", 12.34: "12.3", 999: "999", 1234567: "1 234 567"} {
		if got := number(v); got != want {
			t.Errorf("%v is %q", v, got)
		}
	}
}

// TestUsageNeverShrinks holds that the CPU of a child which ends while the process table is
// read is not lost.
func TestUsageNeverShrinks(t *testing.T) { // by itself: the children of other tests' engines end, too
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	ended := make(chan error)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = exec.Command("sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done").Run()
		}
		ended <- err
	}()
	for last := readUsage().ours; ctx.Err() == nil; {
		now := readUsage().ours
		if now < last {
			t.Errorf("%v of CPU are %v later", last, now)
		}
		last = now
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
