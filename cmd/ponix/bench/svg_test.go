package bench

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestScale holds where values are drawn.
func TestScale(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []float64
		log    bool
		at     map[float64]float64 // of 0 to 100 pixels
		ticks  []float64
	}{
		"even":          {[]float64{50, 100}, false, map[float64]float64{0: 0, 54: 50, 108: 100}, []float64{0, 25, 50, 75, 100}},
		"powers of ten": {[]float64{1, 100, 10000}, true, map[float64]float64{1: 0, 100: 50, 10000: 100}, []float64{1, 10, 100, 1000, 10000}},
		"with nothing":  {[]float64{0, 100, 1000}, true, map[float64]float64{0: 0, 10: 0, 100: 50, 1000: 100}, []float64{10, 100, 1000}},
		"all the same":  {[]float64{7, 7}, false, map[float64]float64{0: 0}, []float64{0, 2, 4, 6}},
	} {
		s := newScale(c.values, 0, 100)
		if s.log != c.log {
			t.Errorf("%s: %+v", name, s)
		}
		for v, want := range c.at {
			if got := s.at(v); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s: %v is at %v, want %v", name, v, got, want)
			}
		}
		if got := s.tens().ticks(); !slices.Equal(got, c.ticks) {
			t.Errorf("%s: ticks at %v", name, got)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 4: "4", 0.25: "0.2", 1.5: "1.5", 254: "254", 1000: "1k", 15104: "15k", 2267: "2.3k", 1e7: "10M"} {
		if got := short(v); got != want {
			t.Errorf("%v is %q", v, got)
		}
	}
}

// TestReadings holds payloads to their size, and that a reading comes once.
func TestReadings(t *testing.T) {
	t.Parallel()
	for want, got := range map[int]int{4: 4, 59: 59, 1024: 1024, 15104: 15104, 99999: 15104} {
		if n := len(readings(want)); n != got {
			t.Errorf("%d bytes, want %d", n, got)
		}
	}
}

// TestBounded holds what counts as faster than linear.
func TestBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		perMessage bool
		want       float64
	}{{true, 8}, {false, steady}} {
		var a Axis
		for _, size := range []int{1, 2, 16} {
			a.add(size, strings.Repeat("x", size), nil)
		}
		if a.bounded(c.perMessage); len(a.Goals) != 1 || a.Goals[0].Bound != c.want || a.Goals[0].Base != "xx" {
			t.Errorf("%+v", a.Goals)
		}
	}
}
