package conversion

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"ponix/runtime/config"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string {
		return `{'a': ` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
	}
	for _, test := range []struct {
		name            string
		limits          Limits
		within, beyond  string // expressions
		reason, message string
	}{
		{"expression", Limits{Expression: 20}, `{'a':  1}`, `{'a':              1}`, ExpressionTooLong, "the expression has 21 bytes, the limit is 20"},
		{"cost", Limits{Cost: 1000}, `{'a': lists.range(90)}`, `{'a': lists.range(2000)}`, CostExceeded, "the evaluation costs more than the limit of 1000"},
		{"cost of steps", Limits{Cost: 1000}, `{'a': [1, 2].map(x, x)}`, `{'a': lists.range(200).map(x, x * 2)}`, CostExceeded, "the evaluation costs more than the limit of 1000"},
		{"time", Limits{Time: time.Nanosecond}, `{'a': 1}`, `{'a': lists.range(200).map(x, x * 2)}`, TimeExceeded, "the evaluation takes longer than the limit of 1ns"},
		{"result", Limits{Result: 20}, `{'a': '123456789012'}`, `{'a': '1234567890123'}`, ResultTooLarge, "the result has at least 21 bytes of JSON, the limit is 20"},
		{"result with numbers", Limits{Result: 20}, `{'a': 1234567890123}`, `{'a': 123456789012345}`, ResultTooLarge, "the result has at least 21 bytes of JSON, the limit is 20"},
		{"result with escapes", Limits{Result: 20}, `{'a': '\n\n\n\n\n\n'}`, `{'a': '\n\n\n\n\n\n\n'}`, ResultTooLarge, "the result has at least 22 bytes of JSON, the limit is 20"},
		{"result with escapes in keys", Limits{Result: 40}, `{'\u0001\u0001\u0001\u0001\u0001': true}`, `{'\u0001\u0001\u0001\u0001\u0001\u0001': true}`, ResultTooLarge, "the result has at least 45 bytes of JSON, the limit is 40"},
		{"result of cayenne", Limits{Result: 31}, `cayenne_lpp_decode(b'\x01\x67\x01\x10')`, `cayenne_lpp_decode(b'\x01\x67\x01\x10\x02\x00\x01')`, ResultTooLarge, "of JSON, the limit is 31"},
		{"depth", Limits{Depth: 3}, nested(3), nested(4), ResultTooDeep, "the result nests deeper than the limit of 3"},
		{"depth by default", Limits{}, nested(32), nested(33), ResultTooDeep, "the result nests deeper than the limit of 32"},
		{"depth of cayenne", Limits{Depth: 2}, `cayenne_lpp_decode(b'\x01\x71\x00\x00\x00\x00\x00\x00')`, `{'a': cayenne_lpp_decode(b'\x01\x71\x00\x00\x00\x00\x00\x00')}`, ResultTooDeep, "the limit of 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newConverter(t, test.limits)
			if _, err := convert(t, c, test.within, input()); err != nil {
				t.Errorf("%s: %v", test.within, err)
			}
			_, err := convert(t, c, test.beyond, input())
			expect(t, err, test.reason, test.message)
		})
	}
}

func TestPayloadLimit(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{Payload: 4})
	if _, err := convert(t, c, `{'a': input.size()}`, Input{Payload: make([]byte, 4)}); err != nil {
		t.Error(err)
	}
	_, err := convert(t, c, `{'a': input.size()}`, Input{Payload: make([]byte, 5)})
	expect(t, err, PayloadTooLarge, "the payload has 5 bytes, the limit is 4")
}

func TestLargestPayload(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	in := Input{Payload: []byte(strings.Repeat("\x01\x00\x07", 87381))}
	for expression, want := range map[string]string{
		`cayenne_lpp_decode(input)`:                   `{"digital_input_1":7}`,
		`{'a': cayenne_lpp_decode(input), 'b': 1}`:    `{"a":{"digital_input_1":7},"b":1}`,
		`{'a': hex(input).size()}`:                    `{"a":524286}`,
		`{'a': input.u8(262142)}`:                     `{"a":7}`,
		`{'a': base64.encode(input).startsWith('A')}`: `{"a":true}`,
	} {
		if got, err := convert(t, c, expression, in); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", expression, got, err, want)
		}
	}
}

// TestWhatIsCheap holds that what looks at a part of a large value only costs no more than
// that: reading a number, looking up a key, and what a loop adds to its list.
func TestWhatIsCheap(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{Time: time.Minute}) // it is about the cost
	in := Input{Payload: []byte(strings.Repeat("\x01\x00\x07", 87381))}
	for expression, want := range map[string]string{
		`{'a': lists.range(1000).filter(i, input.u8(i) == 7).size()}`:                                `{"a":333}`,
		`{'a': lists.range(1000).filter(i, input.bits(8 * i, 8) == 7).size()}`:                       `{"a":333}`,
		`{'a': lists.range(100).filter(i, input.slice(i, i + 1) == b'\x07').size()}`:                 `{"a":33}`,
		`cel.bind(m, cayenne_lpp_decode(input), {'a': lists.range(100).filter(i, 'x' in m).size()})`: `{"a":0}`,
		`{'a': lists.range(3000).map(i, i).size()}`:                                                  `{"a":3000}`,
	} {
		if got, err := convert(t, c, expression, in); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", expression, got, err, want)
		}
	}
}

// TestHostilePayloads holds payloads to what hostile expressions are held to.
func TestHostilePayloads(t *testing.T) {
	t.Parallel()
	const size = 256 << 10
	fill := func(s string) []byte { return []byte(strings.Repeat(s, size/len(s))) }
	c := newConverter(t, Limits{})
	for _, test := range []struct {
		name, expression string
		payload          []byte
		reason           string
	}{
		{"deep JSON", `json_decode(input)`, fill("["), EvaluationFailed},
		{"empty lists", `{'a': json_decode(b'[' + input + b'[]]').size()}`, fill("[],"), ""},
		{"empty lists, as they are", `{'a': json_decode(b'[' + input + b'[]]')}`, fill("[],"), ""},
		{"one long number", `json_decode(input)`, fill("1"), EvaluationFailed},
		{"many readings", `{'a': cayenne_lpp_decode(input), 'b': cayenne_lpp_decode(input).map(k, k)}`, fill("\x01\x00\x07\x02\x00\x08"), ""},
		{"many polylines", `cayenne_lpp_decode(input)`, fill("\x01\xf0\x08\x01\x00\x00\x01\x00\x00\x01"), ""},
		{"as hexadecimal", `{'a': hex(input), 'b': base64.encode(input)}`, fill("\xff"), ""},
		{"as a string", `{'a': string(input)}`, fill("\x01"), ResultTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := convert(t, c, test.expression, Input{Payload: test.payload})
			if test.reason != "" {
				expect(t, err, test.reason, "")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDefaultLimits holds that the zero Limits are those that an operator has by default.
func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	got, err := Limits{}.withDefaults()
	if want := config.Default[Limits](); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestNegativeLimits(t *testing.T) {
	t.Parallel()
	for _, l := range []Limits{{Payload: -1}, {Expression: -1}, {Time: -1}, {Result: -1}, {Depth: -1}, {Programs: -1}, {Texts: -1}} {
		if _, err := New(l); err == nil || !strings.Contains(err.Error(), "is negative") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// TestContext proves that the end of the caller's context is not taken for a
// limit: it says nothing about the expression.
func TestContext(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	convert := func(when string) {
		t.Helper()
		if _, err := c.Convert(ctx, `{'a': lists.range(1000).map(x, x)}`, input()); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", when, err, context.Canceled)
		}
	}
	for range 30 { // in some it has its turn
		convert("while it is evaluated")
	}
	for range cap(c.env.turns) {
		c.env.turns <- struct{}{}
	}
	convert("while others are")
}

func TestMessageIsBounded(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	_, err := convert(t, c, `{'a': {'b': 1}['`+strings.Repeat("ä", 4000)+`']}`, input())
	expect(t, err, EvaluationFailed, "no such key: ää")
	for n := range 3 { // wherever it is cut
		for name, message := range map[string]string{"characters": "€", "bytes that are no text": "\xcd", "both": "\xcd€"} {
			_, err := convert(t, c, `'`+strings.Repeat("a", n)+strings.Repeat(message, 1500), input())
			if text := err.Error(); len(text) > maxMessage || len(text) < maxMessage-3 || !utf8.ValidString(text) || !strings.HasSuffix(text, "…") {
				t.Errorf("%s from %d: %d bytes, at most %d: %q", name, n, len(text), maxMessage, text)
			}
		}
	}
}

// TestTimeIsOnesOwn runs many evaluations with a loop at once: each has its time
// to itself, although all of them together take several times the limit.
func TestTimeIsOnesOwn(t *testing.T) {
	t.Parallel()
	const loop = "{'n': lists.range(100).map(a, lists.range(100).map(b, a * b)).size()}"
	took := func(l Limits) (*Converter, time.Duration) {
		c, err := New(l)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := c.Convert(t.Context(), loop, Input{}); err != nil {
			t.Fatal(err)
		}
		return c, time.Since(began)
	}
	_, one := took(Limits{Time: time.Minute})
	limit := 20*one + 300*time.Millisecond // a busy machine has room
	c, one := took(Limits{Time: limit})
	var all errgroup.Group
	for range min(2*int(limit/one)*runtime.GOMAXPROCS(0), 20_000) {
		all.Go(func() error {
			_, err := c.Convert(t.Context(), loop, Input{})
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}
