package conversion

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// nest is inner with a variable bound around it n times, each to step of the
// last.
func nest(n int, first, step, inner string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cel.bind(v0, %s, ", first)
	for i := range n {
		fmt.Fprintf(&b, "cel.bind(v%d, %s, ", i+1, strings.ReplaceAll(step, "$", fmt.Sprintf("v%d", i)))
	}
	b.WriteString(strings.ReplaceAll(inner, "$", fmt.Sprintf("v%d", n)))
	b.WriteString(strings.Repeat(")", n+1))
	return b.String()
}

// loops is body inside n loops over a list of size elements.
func loops(n, size int, body string) string {
	for i := range n {
		body = fmt.Sprintf("lists.range(%d).map(x%d, %s)", size, i, body)
	}
	return body
}

// million is a string of a million bytes.
var million = nest(20, "'x'", "$ + $", "$")

// hostile is an expression that wants more than it may have. If no reason is
// given, it is not known which limit ends it first, or it even ends well.
type hostile struct{ expression, reason string }

// greedy are expressions that make large values or take long.
func greedy() map[string]hostile {
	with := func(s string) string { return "cel.bind(s, " + million + ", " + s + ")" }
	shared := func(inner string) string { return nest(40, "[1]", "[$, $]", inner) }
	return map[string]hostile{
		"string doubling":            {nest(40, "'x'", "$ + $", "{'a': $}"), CostExceeded},
		"dynamic string doubling":    {nest(40, "dyn('x')", "$ + $", "{'a': $}"), CostExceeded},
		"bytes doubling":             {nest(40, "b'x'", "$ + $", "{'a': $}"), CostExceeded},
		"list doubling":              {nest(40, "[1]", "$ + $", "{'a': $}"), CostExceeded},
		"shared lists":               {shared("{'a': $}"), CostExceeded},
		"shared lists, compared":     {shared("{'a': $ == $}"), CostExceeded},
		"shared lists, in a list":    {shared("{'a': $ in [$]}"), CostExceeded},
		"shared lists, as a key":     {shared("{'a': dyn({1: 2})[dyn($)]}"), CostExceeded},
		"shared lists, formatted":    {shared("{'a': '%s'.format([$])}"), CostExceeded},
		"shared lists, as JSON":      {shared("{'a': json.encode($)}"), CostExceeded},
		"shared lists, flattened":    {shared("{'a': dyn($).flatten(100)}"), CostExceeded},
		"shared maps":                {nest(40, "{'a': 1}", "{'a': $, 'b': $}", "{'a': $}"), CostExceeded},
		"shared optionals":           {nest(30, "optional.of([1])", "optional.of([$, $])", "{'a': $}"), CostExceeded},
		"shared result":              {nest(25, "dyn([1])", "dyn([$, $])", "{'a': $}"), ""},
		"replace growing":            {nest(20, "'xx'", "$.replace('x', $)", "{'a': $}"), CostExceeded},
		"replace nothing":            {with("{'a': s.replace('', s).size()}"), CostExceeded},
		"join with a long separator": {with("{'a': lists.range(1000).map(i, 'x').join(s).size()}"), CostExceeded},
		"split into characters":      {with("{'a': s.split('').size()}"), CostExceeded},
		"long search":                {with("{'a': s.indexOf(s.substring(0, 500000) + 'y')}"), CostExceeded},
		"long search backwards":      {with("{'a': s.lastIndexOf(s.substring(0, 500000) + 'y')}"), CostExceeded},
		"range":                      {"{'a': lists.range(1000000000)}", CostExceeded},
		"many ranges":                {"{'a': [lists.range(400000), lists.range(400000), lists.range(400000)]}", CostExceeded},
		"result of a range":          {"{'a': lists.range(600000)}", ResultTooLarge},
		"format with wide numbers":   {"{'a': lists.range(20000).map(i, '%.100f').join('').format(lists.range(20000).map(i, 1e300)).size()}", ""},
		"formats that are wrong":     {"{'a': ['" + strings.Repeat("x", 14_500) + "', " + strings.Repeat("''.format([1]),", 110) + "]}", InvalidExpression},
		"format of a long string":    {with("{'a': '%s%s%s%s%s%s%s%s%s%s%s%s'.format([s,s,s,s,s,s,s,s,s,s,s,s]).size()}"), CostExceeded},
		"distinct":                   {"{'a': lists.range(100000).distinct()}", CostExceeded},
		"sort":                       {"{'a': lists.range(100000).sort()}", CostExceeded},
		"sort by":                    {"{'a': lists.range(100000).sortBy(x, -x)}", CostExceeded},
		"sets":                       {"{'a': sets.equivalent(lists.range(10000), lists.range(10000))}", CostExceeded},
		"nested loops":               {"{'a': " + loops(8, 1000, "1") + "}", ""},
		"nested loops that find":     {"{'a': lists.range(10000).all(x, lists.range(10000).all(y, x + y >= 0))}", ""},
		"loops over input":           {"{'a': input.size() > 0 ? " + loops(5, 100, "hex(input)") + " : []}", ""},
		"list grown in loops":        {"{'a': lists.range(1000).map(x, lists.range(1000))}", CostExceeded},
		"regex on a long string":     {with("{'a': s.matches('(x+x+)+y')}"), CostExceeded},
		"regex with repetition":      {with("{'a': s.matches('(x{1,30}){1,10}y')}"), CostExceeded},
		"many dynamic regexes":       {"{'a': lists.range(100000).map(x, 'x'.matches('x{900}' + string(x)))}", ""},
		"large dynamic regex":        {"{'a': 'x'.matches('x{1000}' + 'x{1000}')}", EvaluationFailed},
		"long dynamic regex":         {with("{'a': 'x'.matches(s)}"), EvaluationFailed},
		"quotes in a loop":           {with("{'a': lists.range(1000).map(i, strings.quote(s).size())}"), ""},
		"reversed in a loop":         {with("{'a': lists.range(1000).map(i, s.reverse() == s)}"), ""},
		"upper case in a loop":       {with("{'a': lists.range(1000).map(i, s.upperAscii().lowerAscii().size())}"), ""},
		"JSON of a long text":        {with("{'a': json_decode('[' + s.replace('x', '[],') + '1]').size()}"), CostExceeded},
		"JSON in a loop":             {"{'a': lists.range(100000).map(i, json_decode('[[],[],[],[],[],[],[],[],[]]'))}", ""},
		"deep result":                {nest(33, "dyn({})", "dyn({'a': $})", "{'a': $}"), ResultTooDeep},
		"large result":               {with("{'a': s, 'b': s}"), ResultTooLarge},
		"escapes":                    {nest(18, `'\u0001'`, "$ + $", "{'a': $}"), ResultTooLarge},
	}
}

// twisted are expressions that are hard to compile.
func twisted() map[string]hostile {
	return map[string]hostile{
		"calls that are false":      {"{'a': " + strings.Repeat("true || ", 1500) + "false}", ""},
		"parentheses":               {strings.Repeat("(", 16000), InvalidExpression},
		"brackets":                  {strings.Repeat("[", 16000), InvalidExpression},
		"braces":                    {strings.Repeat("{1:", 5000), InvalidExpression},
		"negations":                 {"{'a': " + strings.Repeat("!", 16000) + "true}", ""},
		"minus":                     {"{'a': " + strings.Repeat("-", 16000) + "1}", ""},
		"conditions":                {"{'a': " + strings.Repeat("true?1:", 2000) + "1}", ""},
		"conditions in conditions":  {"{'a': " + strings.Repeat("true?", 2000) + "1" + strings.Repeat(":1", 2000) + "}", ""},
		"a long sum":                {"{'a': 1" + strings.Repeat("+1", 8000) + "}", ""},
		"a long sum of lists":       {"{'a': [1]" + strings.Repeat("+[1]", 4000) + "}", ""},
		"a long chain":              {"{'a': device" + strings.Repeat(".a", 8000) + "}", ""},
		"nested macros":             {"{'a': " + strings.Repeat("[1].map(x,", 1400) + "1" + strings.Repeat(")", 1400) + "}", InvalidExpression},
		"deep types, often":         {nest(60, "optional.of([1])", "optional.of([$])", "{'a': ["+strings.Repeat("$,", 2000)+"]}"), InvalidExpression},
		"types that are just right": {nest(15, "optional.of([1])", "optional.of([$])", "{'a': ["+strings.Repeat("$,", 3000)+"]}"), ""},
		"errors far on the right":   {"'" + strings.Repeat("x", 16000) + "'" + strings.Repeat(`\`, 200), InvalidExpression},
		"errors in sort keys":       {"{'a': [1, 2].sortBy(x, 1 / 0)}", EvaluationFailed},
		"chained macros":            {"{'a': [1]" + strings.Repeat(".map(x,x)", 1700) + "}", ""},
		"chained optionals":         {"{'a': optional.of(1)" + strings.Repeat(".optMap(x,x)", 1300) + "}", ""},
		"dynamic overloads":         {"{'a': " + strings.Repeat("dyn(1)+", 2000) + "1}", ""},
	}
}

// TestHostile holds each expression to twice the time limit, and to a bound of
// what it allocates. They run one after the other: allocations are counted for
// the whole process.
func TestHostile(t *testing.T) {
	const maxBytes = 192 << 20
	const longest = time.Second // 200 ms on a machine of its own, without the race detector
	c := newConverter(t, Limits{})
	all := greedy()
	maps.Copy(all, twisted())
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := all[name]
		t.Run(name, func(t *testing.T) {
			var before, between, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_ = c.Check(h.expression)
			compiled := time.Since(start)
			runtime.ReadMemStats(&between)
			start = time.Now()
			_, err := convert(t, c, h.expression, input())
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			t.Logf("compiled in %s with %d KiB, evaluated in %s with %d KiB: %.150v", compiled,
				(between.TotalAlloc-before.TotalAlloc)>>10, took, (after.TotalAlloc-between.TotalAlloc)>>10, err)
			if took > longest || compiled > 5*longest {
				t.Errorf("compiling takes %s, evaluating %s", compiled, took)
			}
			if size := after.TotalAlloc - before.TotalAlloc; size > maxBytes {
				t.Errorf("it allocates %d MiB", size>>20)
			}
			var bad *Error
			for range 2 { // what disturbs an evaluation does not do so thrice
				if h.reason == ResultTooLarge && errors.As(err, &bad) && bad.Reason == TimeExceeded {
					_, err = convert(t, c, h.expression, input())
				}
			}
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("%v is not an Error", err)
			}
			late := h.reason == CostExceeded && bad != nil && bad.Reason == TimeExceeded // a slow machine
			if h.reason != "" && !late && (bad == nil || bad.Reason != h.reason) {
				t.Errorf("got %#v, want %s", bad, h.reason)
			}
		})
	}
}
