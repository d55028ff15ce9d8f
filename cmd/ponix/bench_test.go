package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ponix/cmd/ponix/bench"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// TestBenchStart measures processes of its own, once: every goal has a value. The engines
// that the environment names are left alone, and so is how to use them.
func TestBenchStart(t *testing.T) {
	t.Parallel()
	work := runtimetest.NATSServer(t)
	out, err := call(t, []string{"PONIX_NATS_URL=" + work.ClientURL(), "PONIX_NATS_REPLICAS=3", "PONIX_CLICKHOUSE_TLS=on"}, "bench", "start", "--format", "json", "--rounds", "1")
	if err != nil {
		t.Fatal(err)
	}
	measuredWhole(t, out, "ms of ponix up, warm → ready ≤ 3000", "ms of ponix serve → first answer ≤ 150")
	if v, err := work.Varz(nil); err != nil || v.TotalConnections > 0 {
		t.Errorf("%v, %d connections to the cluster that the environment names", err, v.TotalConnections)
	}
}

// TestBenchAgainst loads a cluster that runs, and interrupts that while envelopes are on
// their way: none is left that would be a dead letter, since its device is gone.
func TestBenchAgainst(t *testing.T) {
	t.Parallel()
	_, c := up(t, t.TempDir())
	must(t, c.env, "bench", "latency", "--against", c.nats.ConnectedUrl(), "--rate", "200", "--duration", "500ms", "--rounds", "1")
	p := start(t, c.env, "bench", "latency", "--against", c.nats.ConnectedUrl(), "--rate", "100000", "--duration", "1m")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		s, err := c.js.Stream(t.Context(), "raw_envelopes")
		if err == nil && s.CachedInfo().State.Msgs < 20_000 {
			err = fmt.Errorf("%d envelopes", s.CachedInfo().State.Msgs)
		}
		return err
	})
	p.Process.Signal(syscall.SIGINT) //nolint:errcheck // it runs
	<-p.ended
	runtimetest.Eventually(t, 5*time.Second, func() error { // what is tried again is so for half a minute
		convert, err := c.js.Consumer(t.Context(), "raw_envelopes", "convert")
		if err != nil {
			return err
		}
		if i := convert.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
			return fmt.Errorf("%d envelopes of no device wait to be converted, %d are tried again", i.NumPending, i.NumAckPending)
		}
		return nil
	})
	if all, err := c.organizations.ListOrganizations(t.Context(), &organizationv1.ListOrganizationsRequest{}); err != nil || len(all.Organizations) > 0 {
		t.Errorf("%v, %v are left", err, all.GetOrganizations())
	}
}

// TestBenchAgainstWithPassword holds that the user of the environment is whom a cluster is
// loaded as: nothing runs there, and that is what the error is about.
func TestBenchAgainstWithPassword(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t, func(o *server.Options) { o.Username, o.Password = "operator", "secret" })
	env := []string{"PONIX_NATS_USERNAME=operator", "PONIX_NATS_PASSWORD=secret"}
	if _, err := call(t, env, "bench", "latency", "--against", srv.ClientURL()); err == nil || !strings.Contains(err.Error(), "OrganizationService") {
		t.Errorf("got %v", err)
	}
}

// TestBenchCDC measures all of its parts though one may miss its goal, and of those that
// have a case the case alone.
func TestBenchCDC(t *testing.T) {
	t.Parallel()
	few := []string{"bench", "cdc", "--format", "json", "--rounds", "1", "--count", "1000", "--duration", "100ms"}
	out, err := call(t, nil, append(few, "--check")...) // whether so few are fast enough is no matter
	if n := measuredWhole(t, out); n != 3 {
		t.Errorf("%d of 3 parts were measured: %v", n, err)
	}
	out = must(t, nil, append(few, "--only", "NATS")...)
	if n := strings.Count(out, "NATS round trip"); n != 1 || strings.Contains(out, "ponix") {
		t.Errorf("%d times in %s", n, out)
	}
}

// TestBenchRPC measures calls between processes, once: every goal has a value, and
// each process a profile.
func TestBenchRPC(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "rpc")
	out, err := call(t, nil, "bench", "rpc", "--format", "json", "--rounds", "1", "--duration", "300ms", "--profile", profile)
	if err != nil {
		t.Fatal(err)
	}
	measuredWhole(t, out, "p50 µs of ponix bridge, 1 ÷ NATS request, 1 ≤ 2", "p50 µs of ponix up, 1 ÷ NATS request, 1 ≤ 2", "per second of ponix bridge, 64 ÷ gRPC direct, 64 ≥ 0.6",
		"per second of ponix bridge, 64 ÷ minimal bridge, 64 ≥ 0.9", "per second of ponix endpoint, 64 ÷ micro endpoint, 64 ≥ 0.9")
	for _, of := range []string{"", ".answers", ".bridge", ".minimal-bridge", ".up"} {
		if f, err := os.Stat(profile + of); err != nil || f.Size() == 0 {
			t.Errorf("%v, %v", f, err)
		}
	}
}

// measuredWhole fails unless out is reports whose goals all have a value, and are these
// where there are any.
func measuredWhole(t *testing.T, out string, goals ...string) (n int) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(out)); ; n++ {
		var r bench.Report
		if err := d.Decode(&r); errors.Is(err, io.EOF) && n > 0 {
			return n
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		if len(r.Cases) < 2 || len(r.Goals) == 0 {
			t.Errorf("%s has %d cases and %d goals", r.Suite, len(r.Cases), len(r.Goals))
		}
		var got []string
		for _, g := range r.Goals {
			sign := "≥"
			if g.Most {
				sign = "≤"
			}
			got = append(got, fmt.Sprint(g.What, " ", sign, " ", g.Bound))
		}
		if len(goals) > 0 && !slices.Equal(got, goals) {
			t.Errorf("%s: the goals are %q, not %q", r.Suite, got, goals)
		}
		for _, g := range r.Goals {
			if g.Value <= 0 {
				t.Errorf("%s: %s is %v", r.Suite, g.What, g.Value)
			}
		}
	}
}

// TestBenchGrowth draws an axis, small. The others differ in what they measure, not
// in how they are drawn, and each starts engines of its own.
func TestBenchGrowth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := call(t, nil, "bench", "growth", "payload", "--payloads=4,300", "--count", "2000", "--rounds", "1", "--format", "json", "--out", dir)
	if err != nil {
		t.Fatal(err)
	}
	measuredWhole(t, out)
	picture, err := os.ReadFile(filepath.Join(dir, "growth-payload.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(picture)); err == nil; {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if n := strings.Count(string(picture), "<circle"); n != 6 { // two sizes in three panels
		t.Errorf("%d points are drawn", n)
	}
	must(t, nil, "bench", "growth", "payload", "--payloads=4,300", "--only", "299", "--count", "2000", "--rounds", "1", "--out", dir)
	if picture, err = os.ReadFile(filepath.Join(dir, "growth-payload.svg")); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(picture), "<circle"); n != 3 || !strings.Contains(string(picture), ">299<") {
		t.Errorf("of one size %d points are drawn:\n%s", n, picture)
	}
	if _, err := call(t, nil, "bench", "growth", "payload", "--payloads=4,5", "--count", "2000", "--rounds", "1", "--out", dir); err == nil || !strings.Contains(err.Error(), "a payload of 5 bytes would have 4") {
		t.Error(err)
	}
}

// TestBenchGrowthOnly measures the axis that has the case which is asked for, though the others
// have none, and writes a profile for each.
func TestBenchGrowthOnly(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "growth")
	few := []string{"bench", "growth", "payload", "instances", "--payloads=4,15", "--instances=1", "--count", "1000", "--rounds", "1", "--profile", profile}
	out := must(t, nil, append(few, "--only", "1 instances")...)
	if !strings.Contains(out, "growth, instances") || strings.Contains(out, "growth, payload") {
		t.Error(out)
	}
	must(t, nil, few...)
	for _, of := range []string{".payload", ".instances"} {
		if f, err := os.Stat(profile + of); err != nil || f.Size() == 0 {
			t.Errorf("%v, %v", f, err)
		}
	}
	if _, err := call(t, nil, append(few, "--only", "nothing")...); err == nil || !strings.Contains(err.Error(), "exit code 2") {
		t.Error(err)
	}
}

// TestBenchGrowthInterrupted interrupts the first of two axes: the other is not begun, and
// nothing is left.
func TestBenchGrowthInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, []string{"TMPDIR=" + dir}, "bench", "growth", "instances", "backlog", "--count", "20000")
	runtimetest.Eventually(t, 2*time.Minute, func() error {
		if !strings.Contains(p.log.String(), "round 1 of 5") {
			return errors.New("nothing is measured yet")
		}
		return nil
	})
	p.Process.Signal(syscall.SIGINT) //nolint:errcheck // it runs
	<-p.ended
	if n := strings.Count(p.log.String(), "context canceled"); n != 1 {
		t.Errorf("%d axes were interrupted:\n%s", n, p.log)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}

// TestBenchCheck holds --check to the goals of a suite that always measures the same,
// and to its tries.
func TestBenchCheck(t *testing.T) {
	t.Parallel()
	for bound, want := range map[float64]string{0.25: "", 0.55: "", 0.56: "half and whole: per second of half ÷ whole is 0.50, not 0.56"} {
		runs := 0
		always := func(v float64) func(context.Context, *bench.Round) error {
			return func(_ context.Context, r *bench.Round) error { runs++; r.Set(bench.Rate, v); return nil }
		}
		m := measured{Rounds: 1, Tries: 2, Tolerance: 0.9, Check: true}
		err := m.show(&env{ctx: t.Context(), out: &output{Writer: io.Discard, colour: false}}, bench.Suite{
			Name: "half and whole", Metrics: []bench.Metric{bench.Rate}, Cases: []bench.Case{{Name: "half", Run: always(1)}, {Name: "whole", Run: always(2)}},
			Goals: []bench.Goal{{Of: "half", Base: "whole", Metric: bench.Rate, Bound: bound}},
		})
		if got := fmt.Sprint(err); got != cmp.Or(want, "<nil>") {
			t.Errorf("a goal of %v: %s", bound, got)
		}
		if each := 4; (runs == each) != (want == "") { // two cases, each once to get warm
			t.Errorf("a goal of %v: %d runs", bound, runs)
		}
	}
}

// TestBenchRefuses holds the exit code of what cannot be measured, or checked.
func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]string{{"convert", "--rounds", "0"}, {"convert", "--only", "idiomatic", "--check"}, {"convert", "--only", "nothing"}, {"cdc", "--only", "nothing"}, {"convert", "--tolerance", "1.1"}, {"growth", "moon"}, {"growth", "--devices=2,1"}, {"growth", "--instances=1,1"}, {"growth", "--backlogs=0,0"}, {"soak", "--for", "0s"},
		{"convert", "--count", "0"}, {"pipeline", "--count=-1"}, {"ingest", "--count", "0"}, {"cdc", "--count", "0"}, {"cdc", "--duration", "0s"}, {"rpc", "--duration", "0s"},
		{"memory", "--check", "--large", "0"}, {"durability", "--count", "19"}, {"latency", "--rate", "1", "--duration", "900ms"}} {
		if _, err := call(t, nil, append([]string{"bench"}, bad...)...); err == nil || !strings.Contains(err.Error(), "exit code 2") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
