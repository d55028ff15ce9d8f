package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// TestWork counts the levels of lists.
func TestWork(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`{}`:                              0,
		`{"a":{"b":{"c":1}}}`:             0,
		`{"a":"[[[","b\\":"\"["}`:         0,
		`{"a":"\"","b":[1]}`:              1,
		`{"a":[1,2],"b":[]}`:              2,
		`{"a":[[1],[2],[[]]]}`:            27,
		`{"a":[{"b":[1]},{}]}`:            27 + 1,
		`{"a":{"b":[[1]],"c":[{"d":1}]}}`: 8 + 8,
		`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: 1_000_000,
	} {
		if got := work([]byte(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	if most := work([]byte(`{"a":1` + strings.Repeat(`,"":[[[[]]]]`, 1<<20/12) + "}")); most > maxWork {
		t.Errorf("1 MiB of lists in lists has %d", most)
	}
}

// TestBlock cuts rows into blocks that are no more work than one row may be.
func TestBlock(t *testing.T) {
	t.Parallel()
	var rows []row
	for _, work := range []int{0, 1, maxWork - 1, 1, maxWork, maxWork, 0, 0} {
		rows = append(rows, row{work: work})
	}
	for _, want := range []int{3, 1, 1, 3} {
		got := block(rows)
		if got != want {
			t.Fatalf("%d rows, want %d", got, want)
		}
		rows = rows[got:]
	}
}

// TestBlockOfMonths cuts rows of very many months, and not those of a few that take turns.
func TestBlockOfMonths(t *testing.T) {
	t.Parallel()
	first := time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)
	var few, many []row
	for i := range 2000 {
		few = append(few, row{occurred: first.AddDate(0, i%2, 0)})
		many = append(many, row{occurred: first.AddDate(0, i, 0)})
	}
	if n := block(few); n != len(few) {
		t.Errorf("two months: %d rows", n)
	}
	if n := block(many); n < 400 || n > 600 {
		t.Errorf("2000 months: %d rows", n)
	}
}

// TestManyKeys has rows whose lists have very many different keys: each is a block of its
// own, since ClickHouse may not have files enough for it. 1 500 pairs of them, 40 kB, held
// up all that was in their block for twenty seconds, again and again.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	many := func(text string) string {
		var b strings.Builder
		for i := range 300 {
			b.WriteString(strings.ReplaceAll(text, "#", fmt.Sprint(i)))
		}
		return b.String()
	}
	for text, want := range map[string]bool{
		`{"a":[0` + many(`,{"k#":1}`) + `]}`:                  true,
		`{"a":[{"b":[],"c":{"d":0` + many(`,"k#":1`) + `}}]}`: true,
		`{"a":[0` + many(`,{"\\\"k#\\":"x\\"}`) + `]}`:        true,
		`{"a":[0` + many(`,{"same":#}`) + `]}`:                false,
		`{"a":[0` + many(`,"{\"k#\":1}"`) + `]}`:              false,
		`{"a":["[\"[["]` + many(`,"k#":[#]`) + `}`:            false,
	} {
		r, bad := newRow(&envelopev1.ProcessedEnvelope{DataJson: []byte(text)})
		if len(bad) > 0 {
			t.Errorf("%.60s: %v", text, bad)
		}
		if n := block([]row{{}, r, {}}); n != 1 && want || n != 3 && !want {
			t.Errorf("%.60s: a block of %d", text, n)
		}
		if n := block([]row{r, {}}); n != 1 && want {
			t.Errorf("%.60s: it is in a block of %d", text, n)
		}
	}
}
