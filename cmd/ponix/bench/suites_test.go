package bench

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

func world(t *testing.T, e Engines) *World {
	t.Helper()
	e.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	w, err := Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// goals are those of a report, as its table shows them.
func goals(r *Report) (all []string) {
	_, rows := r.GoalTable()
	for _, row := range rows {
		all = append(all, strings.TrimSpace(row[0]+" "+row[1]))
	}
	return all
}

// TestSuites runs each suite once, small: every case does its work whole, which it
// checks itself, and every goal has a value. The goals are those that the README tells of.
func TestSuites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		engines Engines
		suite   func(context.Context, *World) (Suite, error)
		goals   []string
	}{
		"pipeline": {Engines{}, func(ctx context.Context, w *World) (Suite, error) { return Pipeline(ctx, w, 3000) }, []string{
			"per second of ponix ÷ limit loop ≥ 0.85", "CPU µs each of ponix ÷ limit loop ≤ 1.15", "per second of ponix, two instances ÷ ponix ≥ 1.00",
		}},
		"devices": {Engines{}, func(ctx context.Context, w *World) (Suite, error) { return Devices(ctx, w, 3000, 3000) }, []string{
			"per second of many devices ÷ one device ≥ 0.70",
		}},
		"latency": {Engines{}, func(ctx context.Context, w *World) (Suite, error) {
			return Latency(ctx, w, []int{500}, 200*time.Millisecond)
		}, nil},
		"ingest": {Engines{ClickHouse: true}, func(ctx context.Context, w *World) (Suite, error) { return Ingest(ctx, w, 3000) }, []string{
			"per second of ponix, processed → rows ÷ bare insert ≥ 0.60", "rows a block of ponix, processed → rows ≥ 1000.00", "p50 µs of ponix, one alone ≤ 260000.00",
			"p50 µs of ponix, one alone ÷ bare insert, one alone ≤ 1.04",
		}},
		"cdc": {Engines{Postgres: true}, func(ctx context.Context, w *World) (Suite, error) { return CDC(ctx, w, 1000, false) }, []string{
			"per second of ponix ÷ decode and encode ≥ 0.70",
		}},
		"cdc live": {Engines{Postgres: true}, func(ctx context.Context, w *World) (Suite, error) {
			return CDCLatency(ctx, w, 200*time.Millisecond)
		}, []string{"p50 µs of ponix ÷ NATS round trip ≤ 2.50"}},
		"cdc one": {Engines{Postgres: true}, func(ctx context.Context, w *World) (Suite, error) { return CDC(ctx, w, 1000, true) }, []string{
			"per second of ponix ÷ decode and encode ≥ 0.60",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := c.suite(t.Context(), world(t, c.engines))
			if err != nil {
				t.Fatal(err)
			}
			r, err := Run(t.Context(), s, Options{Rounds: 1})
			if err != nil {
				t.Fatal(err)
			}
			if got := goals(r); !slices.Equal(got, c.goals) {
				t.Errorf("the goals are %q, not %q", got, c.goals)
			}
			for _, g := range r.Goals {
				if !(g.Value > 0) { // NaN is not, either
					t.Errorf("%s is %v", g.What, g.Value)
				}
			}
			if !r.spent.known { // then --check could not be passed
				t.Errorf("it is %s", r.Verdict())
			}
			for _, row := range r.Cases {
				if len(row.Figures) == 0 {
					t.Errorf("%s has no figures", row.Name)
				}
			}
		})
	}
}

// What fills the cache is not part of the rate.
func TestDevicesCountsWhatItMeasures(t *testing.T) {
	t.Parallel()
	const n, many = 1000, 3000
	s, err := Devices(t.Context(), world(t, Engines{}), n, many)
	if err != nil {
		t.Fatal(err)
	}
	r := newRound()
	if err := s.Cases[1].Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if counted := r.values[Rate] * r.spent.wall.Seconds(); counted < 1 || counted > n+0.5 {
		t.Errorf("%.0f messages are counted, of %d", counted, n)
	}
}
