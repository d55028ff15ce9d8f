package bench

import (
	"context"
	"log/slog"
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

// TestSuites runs each suite once, small: every case does its work whole, which it
// checks itself, and every goal has a value.
func TestSuites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		engines Engines
		suite   func(context.Context, *World) (Suite, error)
	}{
		"pipeline": {Engines{}, func(ctx context.Context, w *World) (Suite, error) { return Pipeline(ctx, w, 3000) }},
		"devices":  {Engines{}, func(ctx context.Context, w *World) (Suite, error) { return Devices(ctx, w, 3000, 3000) }},
		"latency": {Engines{}, func(ctx context.Context, w *World) (Suite, error) {
			return Latency(ctx, w, []int{500}, 200*time.Millisecond)
		}},
		"ingest": {Engines{ClickHouse: true}, func(ctx context.Context, w *World) (Suite, error) { return Ingest(ctx, w, 3000) }},
		"cdc":    {Engines{Postgres: true}, func(ctx context.Context, w *World) (Suite, error) { return CDC(ctx, w, 1000, false) }},
		"cdc live": {Engines{Postgres: true}, func(ctx context.Context, w *World) (Suite, error) {
			return CDCLatency(ctx, w, 200*time.Millisecond)
		}},
		"cdc one": {Engines{Postgres: true}, func(ctx context.Context, w *World) (Suite, error) { return CDC(ctx, w, 1000, true) }},
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
			for _, g := range r.Goals {
				if !(g.Value > 0) { // NaN is not, either
					t.Errorf("%s is %v", g.What, g.Value)
				}
			}
			for _, row := range r.Cases {
				if len(row.Figures) == 0 {
					t.Errorf("%s has no figures", row.Name)
				}
			}
		})
	}
}
