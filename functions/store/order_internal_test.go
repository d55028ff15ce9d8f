package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestKindsHaveBlocks holds that rows whose integers beyond 2^53 are in different lists are in
// different blocks, that others are in none of theirs, and that there are never many blocks.
func TestKindsHaveBlocks(t *testing.T) {
	t.Parallel()
	for kinds, want := range map[int]int{0: 1, 1: 2, 15: 16, 16: 16, 200: 16} {
		rows := []row{{id: "plain"}, {id: "null", place: place{nulls: nullsInLists}}}
		for i := range 3 * kinds {
			var v any = map[string]any{fmt.Sprint("k", i%kinds): []any{json.Number("9007199254740993")}}
			rows = append(rows, row{id: fmt.Sprint(i % kinds), place: place{kind: kindOf(v)}})
		}
		blocks := 0
		for left := inOrder(rows); len(left) > 0; blocks++ {
			n := block(left)
			for _, r := range left[1:n] {
				if r.id != left[0].id && r.place.kind != nil && blocks < maxKinds-1 {
					t.Errorf("of %d kinds %s and %s are in one block", kinds, left[0].id, r.id)
				}
			}
			left = left[n:]
		}
		if blocks != want {
			t.Errorf("%d kinds are in %d blocks, not %d", kinds, blocks, want)
		}
	}
}

// TestKinds holds that a row's kind is that of all its lists which have to keep an integer beyond
// 2^53, wherever they are and in whatever order they are found.
func TestKinds(t *testing.T) {
	t.Parallel()
	kind := func(text string) []uint64 {
		v, err := parseJSON([]byte(strings.ReplaceAll(text, "#", "9007199254740993")))
		if err != nil {
			t.Fatal(err)
		}
		return kindOf(v)
	}
	seen := map[string]string{}
	for text, lists := range map[string]int{
		`{"a":#}`:                     0,
		`{"a":[1]}`:                   0,
		`{"a":[#,1.5]}`:               0,
		`{"a":[[#],[1.5]]}`:           0,
		`{"a":[#]}`:                   1,
		`{"a":{"b":[#]}}`:             1,
		`{"a":[{"b":[#]}]}`:           1,
		`{"a":[1.5,[{"c":[#]}]]}`:     1,
		`{"a":[{"d":[#]},{"d":[#]}]}`: 1,
		`{"a":[#,{"b":[#]}]}`:         2,
		`{"a":[#],"b":[#],"c":[#]}`:   3,
	} {
		first := kind(text)
		if len(first) != lists {
			t.Errorf("%s: %d lists, want %d", text, len(first), lists)
		}
		for range 20 {
			if again := kind(text); !slices.Equal(again, first) {
				t.Fatalf("%s is %v, and %v", text, first, again)
			}
		}
		if other := seen[fmt.Sprint(first)]; lists > 0 && other != "" {
			t.Errorf("%s and %s are of one kind", text, other)
		}
		seen[fmt.Sprint(first)] = text
	}
}
