package store

import "bytes"

// maxWork is the work of a row, and of a block of them, at most: ClickHouse takes seconds
// for that. What nests no deeper than four lists, as nearly all does, has less in 1 MiB.
const maxWork = 6 << 20

// work is how much ClickHouse has to do for the lists of a JSON text without spaces: for
// each that is a member of an object, the cube of how many levels it has.
func work(data []byte) (total int) {
	type list struct{ begins, ends int } // levels of the text
	var open []list
	level, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			if c == '[' && data[i-1] == ':' {
				open = append(open, list{begins: level})
			}
			if n := len(open); n > 0 {
				open[n-1].ends = max(open[n-1].ends, level)
			}
		case c == '}' || c == ']':
			if n := len(open); n > 0 && open[n-1].begins == level {
				levels := open[n-1].ends - level + 1
				total += levels * levels * levels
				if open = open[:n-1]; n > 1 {
					open[n-2].ends = max(open[n-2].ends, level+levels-1)
				}
			}
			level--
		}
	}
	return total
}

// manyKeys is how many different keys the objects in a row's lists may have: ClickHouse
// takes some ten files for each, and may open only so many. A row with more is a block of
// its own, after all others: where there are not enough files it takes none with it.
const manyKeys = 256

// hasManyKeys tells that of a JSON text without spaces.
func hasManyKeys(data []byte) bool {
	if len(data) < manyKeys*len(`{"aa":1},`) { // as nearly all
		return false
	}
	seen := map[string]struct{}{}
	lists := 0 // that are open
	for i := 0; i < len(data) && len(seen) <= manyKeys; i++ {
		switch data[i] {
		case '[':
			lists++
		case ']':
			lists--
		case '"':
			text := data[i+1:]
			n := bytes.IndexByte(text, '"')
			for n > 0 && escaped(text[:n]) {
				n += 1 + bytes.IndexByte(text[n+1:], '"')
			}
			if i += n + 1; lists > 0 && data[i+1] == ':' {
				if _, known := seen[string(text[:n])]; !known { // looking allocates nothing
					seen[string(text[:n])] = struct{}{}
				}
			}
		}
	}
	return len(seen) > manyKeys
}

// escaped tells whether what follows text in a JSON string is, by a backslash.
func escaped(text []byte) bool {
	return (len(text)-len(bytes.TrimRight(text, `\`)))%2 == 1
}

// monthWork is the work of one month more in a block: each is a part of its own, for which
// ClickHouse takes some two milliseconds. Clocks of devices may be anywhere.
const monthWork = maxWork / 500

// block is how many of rows, which are in order, may be one: what takes long does not take
// all others with it when time is over, and integers of one do not become doubles of another.
func block(rows []row) int {
	total, last, seen := 0, 0, map[int]bool{}
	for i, r := range rows {
		if r.place.block != rows[0].place.block {
			return i
		}
		year, month, _ := r.occurred.Date()
		m := 12*year + int(month)
		if m != last && !seen[m] {
			seen[m] = true
			total += min(i, 1) * monthWork // the first is no more work
		}
		if total += r.work; i > 0 && total > maxWork {
			return i
		}
		last = m
	}
	return len(rows)
}
