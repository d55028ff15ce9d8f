package functiontest

import (
	"slices"
	"testing"
)

// List is how the tests of lists call one: it returns the ids of a page.
type List func(size int32, token string) (ids []string, next string, err error)

// Pages holds a list to the rules that all lists have. create makes one more
// item and returns its id; the list must be empty. foreign is a token that
// another rpc, or this one with another filter, has issued.
func Pages(t *testing.T, list List, create func() string, foreign string) {
	t.Helper()
	if ids, next, err := list(0, ""); err != nil || len(ids) != 0 || next != "" {
		t.Fatalf("an empty list is %v, %q, %v", ids, next, err)
	}
	var want []string // newest first
	for range 7 {
		want = slices.Insert(want, 0, create())
	}
	for size := range int32(9) {
		if got := walk(t, list, size, func() {}); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", size, got, want)
		}
	}
	// What is made meanwhile is newer than every page that follows.
	before := slices.Clone(want)
	if got := walk(t, list, 2, func() { want = slices.Insert(want, 0, create()) }); !slices.Equal(got, before) {
		t.Errorf("with inserts: %v, want %v", got, before)
	}
	_, _, err := list(-1, "x")
	WantInvalid(t, err, "page_size", "page_token")
	for _, token := range []string{foreign, "x", "!"} {
		_, _, err := list(2, token)
		WantInvalid(t, err, "page_token")
	}
}

// Sizes holds a list of 1002 items to the sizes of its pages.
func Sizes(t *testing.T, list List) {
	t.Helper()
	for size, want := range map[int32]int{0: 100, 1: 1, 1000: 1000, 1001: 1000, 1<<31 - 1: 1000} {
		ids, next, err := list(size, "")
		if err != nil || len(ids) != want || next == "" {
			t.Errorf("page_size %d: %d items, next %q, %v", size, len(ids), next, err)
		}
	}
	if got := walk(t, list, 400, func() {}); len(got) != 1002 || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 1002 {
		t.Errorf("%d of 1002 items", len(got))
	}
}

// walk returns the ids of all pages and calls between after each.
func walk(t *testing.T, list List, size int32, between func()) (all []string) {
	t.Helper()
	for token := ""; ; {
		ids, next, err := list(size, token)
		if err != nil {
			t.Fatal(err)
		}
		if size > 0 && len(ids) > int(size) {
			t.Fatalf("a page of %d has %d items", size, len(ids))
		}
		all = append(all, ids...)
		if next == "" {
			return all
		}
		if len(ids) == 0 {
			t.Fatal("an empty page, and yet more follows")
		}
		if slices.Contains(all[:len(all)-len(ids)], ids[0]) {
			t.Fatalf("%s is listed twice", ids[0])
		}
		token = next
		between()
	}
}
