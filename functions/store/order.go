package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"hash/maphash"
	"slices"
)

// place is where a row belongs among others.
//
// ClickHouse takes a list, and in one of many types a number, for the first type of the
// path that can hold it. One that an earlier row of the block has made may hold a Float64
// for an integer, and an empty object or list for null. So rows with integers beyond 2^53
// in lists come first, with those in the most lists before the others, and each kind has a
// block of its own, where it can. Then come those with null in a list, and the last of them
// are those that have objects or lists in a list as well.
type place struct {
	kind  []uint64 // hashes of the paths of lists that have integers beyond 2^53, and no fraction
	nulls int      // the higher, the nearer to the start
	block int      // rows of another number are in another block, where they can be
}

// maxKinds is how many blocks there are at most for the sake of kinds: 2 000 of them would
// hold `store` up for minutes. Where there are more, the last may lose integers.
const maxKinds = 16

const (
	nullsAndMoreInLists = iota + 1
	nullsInLists
)

func (p place) compare(q place) int {
	return cmp.Or(
		cmp.Compare(len(q.kind), len(p.kind)),
		slices.Compare(p.kind, q.kind),
		cmp.Compare(q.nulls, p.nulls))
}

// inOrder returns rows in the order in which they may be in blocks, and the block of each.
func inOrder(rows []row) []row {
	if !slices.ContainsFunc(rows, func(r row) bool { return r.place.kind != nil || r.place.nulls != 0 }) {
		return rows
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b row) int { return a.place.compare(b.place) })
	block := 0
	for i := range rows {
		if i > 0 && block < maxKinds-1 && !slices.Equal(rows[i].place.kind, rows[i-1].place.kind) {
			block++
		}
		rows[i].place.block = block
	}
	return rows
}

// nullsOf tells of null in lists of JSON without spaces, or of a text like that.
func nullsOf(data []byte) int {
	has := func(either, or string) bool {
		return bytes.Contains(data, []byte(either)) || bytes.Contains(data, []byte(or))
	}
	switch {
	case !has("[null", ",null"):
		return 0
	case has("[[", ",[") || has("[{", ",{"):
		return nullsAndMoreInLists
	}
	return nullsInLists
}

// kindOf is nil where no list has to keep an integer beyond 2^53.
func kindOf(data any) []uint64 {
	kind := wholeLists(nil, 0, data)
	slices.Sort(kind)
	return slices.Compact(kind)
}

// step is a path by that of what it is in, and its name there.
type step struct {
	in   uint64
	name string
}

var hashSeed = maphash.MakeSeed()

func (s step) hash() uint64 { return maphash.Comparable(hashSeed, s) }

// wholeLists adds the paths of such lists in v. A list in a list has the same numbers, and
// what is in an object of a list has a path of its own.
func wholeLists(kind []uint64, path uint64, v any) []uint64 {
	switch x := v.(type) {
	case []any:
		if holds(x, isInexact) && !holds(x, isFraction) {
			kind = append(kind, path)
		}
		kind = wholeListsInObjects(kind, step{path, "[]"}.hash(), x)
	case map[string]any:
		for k, item := range x {
			kind = wholeLists(kind, step{path, "." + k}.hash(), item)
		}
	}
	return kind
}

func wholeListsInObjects(kind []uint64, path uint64, list []any) []uint64 {
	for _, item := range list {
		switch x := item.(type) {
		case []any:
			kind = wholeListsInObjects(kind, path, x)
		case map[string]any:
			kind = wholeLists(kind, path, x)
		}
	}
	return kind
}

// holds tells whether a list has such a number in it, or in a list in it: ClickHouse gives
// all numbers of a list one type.
func holds(list []any, number func(json.Number) bool) bool {
	return slices.ContainsFunc(list, func(item any) bool {
		switch x := item.(type) {
		case json.Number:
			return number(x)
		case []any:
			return holds(x, number)
		}
		return false
	})
}
