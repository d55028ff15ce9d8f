package bench

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"ponix/functions"
	"ponix/functions/convert"
	"ponix/functions/convert/idiomatic"
	"ponix/runtime/config"
)

// TestConvert proves that both competitors yield the same, and that the suite runs.
func TestConvert(t *testing.T) {
	t.Parallel()
	bare, err := convert.Bare(config.Default[functions.Config]().Limits)
	if err != nil {
		t.Fatal(err)
	}
	for _, expression := range []string{decodeAll, compute} {
		usual, err := idiomatic.Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		for v, f := range map[*any]func() ([]byte, error){
			&want: func() ([]byte, error) { return usual(t.Context(), sample) },
			&got:  func() ([]byte, error) { return bare(t.Context(), expression, sample) },
		} {
			text, err := f()
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, v); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", expression, got, want)
		}
	}
	s, err := Convert(100)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), s, Options{Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := goals(r), []string{
		"ns each of decode, ponix ÷ decode, idiomatic ≤ 0.35", "ns each of compute, ponix ÷ compute, idiomatic ≤ 0.55", "allocations of decode, ponix ≤ 12.00",
	}; !slices.Equal(got, want) {
		t.Errorf("the goals are %q, not %q", got, want)
	}
	for _, g := range r.Goals {
		if g.Value == 0 {
			t.Errorf("%s was not measured", g.What)
		}
	}
}
