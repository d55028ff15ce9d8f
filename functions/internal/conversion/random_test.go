package conversion

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The variables of TestRandomExpressions: how many there are (`just expressions` tries
// ten thousand), and the seed that repeats a run.
const countVariable, seedVariable = "PONIX_EXPRESSIONS", "PONIX_EXPRESSIONS_SEED"

func variable(t *testing.T, name string, preset uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return preset
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRandomExpressions runs expressions that want much: deep nesting,
// bombs of regular expressions, huge comprehensions and giant strings, put together
// at random, some of them damaged. Each ends with a result or an Error, and takes no
// more time and memory than the hand-made ones of [TestHostile].
func TestRandomExpressions(t *testing.T) {
	const maxBytes, longest = 192 << 20, time.Second
	count := int(variable(t, countVariable, 500))
	seed := variable(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d", seedVariable, seed)
	c := newConverter(t, Limits{})
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	ends := map[string]int{}
	var slowest time.Duration
	var largest uint64
	for range count {
		expression := g.expression()
		reason, took, size := measured(t, c, expression)
		for range 2 { // what disturbs a measurement does not do so thrice
			if took <= longest && size <= maxBytes {
				break
			}
			reason, took, size = measured(t, newConverter(t, Limits{}), expression) // one that does not know it
		}
		if took > longest || size > maxBytes {
			t.Errorf("seed %d: it takes %s and %d MiB: %s", seed, took, size>>20, expression)
		}
		ends[reason]++
		slowest, largest = max(slowest, took), max(largest, size)
	}
	t.Logf("the slowest took %s, the largest %d MiB; how they ended: %v", slowest, largest>>20, ends)
	for _, reason := range []string{"", InvalidExpression, EvaluationFailed, CostExceeded} {
		if ends[reason] < count/100 {
			t.Errorf("only %d of %d end with %q: the generator has lost its bite", ends[reason], count, reason)
		}
	}
}

// measured converts with an expression that was not compiled before, and says how
// it ends.
func measured(t *testing.T, c *Converter, expression string) (reason string, took time.Duration, size uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	checked := c.Check(expression)
	_, err := convert(t, c, expression, Input{Payload: []byte{1, 0x67, 0x01, 0x10, 2, 0, 7}})
	took = time.Since(start)
	runtime.ReadMemStats(&after)
	var bad *Error
	if err != nil && !errors.As(err, &bad) {
		t.Fatalf("%s: %v is not an Error", expression, err)
	}
	if checked != nil && err == nil {
		t.Fatalf("%s is refused (%v), and converts all the same", expression, checked)
	}
	if bad != nil {
		reason = bad.Reason
	}
	return reason, took, after.TotalAlloc - before.TotalAlloc
}

// generator makes expressions that mostly compile.
type generator struct{ *rand.Rand }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) expression() string {
	text := fmt.Sprintf("{'a': %s}", g.any(1+g.IntN(5)))
	switch g.IntN(20) {
	case 0: // damaged
		for range 1 + g.IntN(3) {
			at := g.IntN(len(text))
			text = text[:at] + g.pick("(", ")", "[", "'", "\\", "\x00", "ÿ", ".", "?", "!", "9") + text[at+g.IntN(2)*min(1, len(text)-at):]
		}
	case 1: // deep
		n := g.IntN(600)
		pair := strings.Fields(g.pick("( )", "[ ]", "dyn( )", "[1].map(x, )", "optional.of( )", "!", "-", "{'a': }", "size([ ])"))
		if len(pair) == 1 {
			pair = append(pair, "")
		}
		text = "{'a': " + strings.Repeat(pair[0], n) + g.any(1) + strings.Repeat(pair[1], n) + "}"
	case 2: // bound, and doubled each time
		first, step := g.string(1), "$ + $"
		if g.IntN(2) == 0 {
			first, step = "dyn(["+g.any(1)+"])", g.pick("dyn([$, $])", "dyn({'b': $, 'c': $})", "dyn([$])")
		}
		text = nest(g.IntN(40), first, step, "{'a': "+g.pick("$", "dyn($).size()", "$ == $", "json.encode($)", "string(json.encode($)).matches('.*')")+"}")
	}
	return text
}

func (g generator) any(depth int) string {
	switch g.IntN(6) {
	case 0:
		return g.string(depth)
	case 1:
		return g.list(depth)
	case 2:
		return g.boolean(depth)
	case 3:
		return fmt.Sprintf("cayenne_lpp_decode(%s)", g.bytes(depth))
	case 4:
		return fmt.Sprintf("{%s: %s}", g.string(0), g.int(depth-1))
	}
	return g.int(depth)
}

func (g generator) int(depth int) string {
	if depth <= 0 {
		return g.pick("0", "1", "-1", "255", "1000", "9223372036854775807", "input.size()", "input.u8(0)", "input.i16le(1)")
	}
	d := depth - 1
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.int(d), g.pick("+", "-", "*", "/", "%"), g.int(d))
	case 1:
		return g.list(d) + ".size()"
	case 2:
		return g.string(d) + ".size()"
	case 3:
		return fmt.Sprintf("(%s ? %s : %s)", g.boolean(d), g.int(d), g.int(d))
	case 4:
		return fmt.Sprintf("%s.indexOf(%s)", g.string(d), g.string(d))
	}
	return fmt.Sprintf("input.%s(%s)", g.pick("u8", "u16be", "u32le", "i32be", "i8"), g.int(d))
}

func (g generator) string(depth int) string {
	if depth <= 0 {
		return g.pick("'a'", "''", "'ä€😀'", "device.name", "'(x+x+)+y'", "'x{1000}'", "'(a{1,30}){1,30}'", "'%s%s%.100f'", "'"+strings.Repeat(g.pick("x", "(", "\\\\", "{"), g.IntN(3000))+"'")
	}
	d := depth - 1
	switch g.IntN(9) {
	case 0:
		return fmt.Sprintf("(%s + %s)", g.string(d), g.string(d))
	case 1:
		return fmt.Sprintf("%s.replace(%s, %s)", g.string(d), g.string(d), g.string(d))
	case 2:
		return fmt.Sprintf("%s.map(i, string(i)).join(%s)", g.list(d), g.string(d))
	case 3:
		return fmt.Sprintf("%s.format([%s, %s, %s])", g.string(d), g.any(d), g.string(d), g.int(d))
	case 4:
		return fmt.Sprintf("%s.%s()", g.string(d), g.pick("upperAscii", "lowerAscii", "reverse", "trim"))
	case 5:
		return nest(g.IntN(24), g.string(0), "$ + $", "$")
	case 6:
		return "hex(" + g.bytes(d) + ")"
	case 7:
		return "strings.quote(" + g.string(d) + ")"
	}
	return "string(" + g.int(d) + ")"
}

func (g generator) bytes(depth int) string {
	if depth <= 0 {
		return g.pick("input", "b''", `b'\x01\x67\x01\x10'`, "b'"+strings.Repeat(`\x01\x00\x07`, g.IntN(500))+"'")
	}
	return g.pick(fmt.Sprintf("(%s + %s)", g.bytes(depth-1), g.bytes(depth-1)), "bytes("+g.string(depth-1)+")", nest(g.IntN(20), "input", "$ + $", "$"), "json.encode("+g.any(depth-1)+")")
}

func (g generator) list(depth int) string {
	if depth <= 0 {
		return g.pick("[1, 2, 3]", "[0]", "lists.range(10)", "lists.range(1000)", "lists.range(100000)", "lists.range(1000000000)")
	}
	d := depth - 1
	switch g.IntN(7) {
	case 0:
		return fmt.Sprintf("%s.map(i, %s + i)", g.list(d), g.int(d))
	case 1:
		return fmt.Sprintf("%s.filter(i, %s)", g.list(d), g.boolean(d))
	case 2:
		return fmt.Sprintf("(%s + %s)", g.list(d), g.list(d))
	case 3:
		return fmt.Sprintf("%s.map(i, %s).flatten()", g.list(d), g.list(d))
	case 4:
		return fmt.Sprintf("%s.%s", g.list(d), g.pick("sort()", "distinct()", "reverse()", "sortBy(i, -i)", "slice(0, 1)"))
	case 5:
		return loops(g.IntN(6), g.IntN(1000), g.int(d)) // over ranges
	}
	return fmt.Sprintf("lists.range(%s)", g.int(d))
}

func (g generator) boolean(depth int) string {
	if depth <= 0 {
		return g.pick("true", "false")
	}
	d := depth - 1
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("%s.matches(%s)", g.string(d), g.string(d))
	case 1:
		return fmt.Sprintf("(%s %s %s)", g.boolean(d), g.pick("&&", "||"), g.boolean(d))
	case 2:
		return fmt.Sprintf("%s.%s(i, %s)", g.list(d), g.pick("all", "exists", "exists_one"), g.boolean(d))
	case 3:
		return fmt.Sprintf("(%s in %s)", g.int(d), g.list(d))
	case 4:
		return fmt.Sprintf("sets.%s(%s, %s)", g.pick("contains", "equivalent", "intersects"), g.list(d), g.list(d))
	}
	return fmt.Sprintf("%s.contains(%s)", g.string(d), g.string(d))
}
