package conversion

import "testing"

// TestLiteral proves that a map literal is converted as a map that CEL has made.
func TestLiteral(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	for _, test := range []struct {
		literal string
		direct  bool // it makes no map
	}{
		{`{}`, true},
		{`{'b': 1, 'a': 2, '': 3}`, true},
		{`{'f': cayenne_lpp_decode(input).temperature_1, 'e': {'b': [1], 'a': {'x': cayenne_lpp_decode(input)}}}`, true},
		{`{'a': 1 / 0, 'b': nope.x}`, false},
		{`{'b': 1 / 0, 'a': {}['x']}`, true},
		{`{'b': 0.0 / 0.0, 'a': -0.0}`, true},
		{`{'a': optional.of(1), 'b': lists.range(3).map(x, x)}`, true},
		{`{'a': lists.range(2000000)}`, true},
		{`{?'a': optional.of(1), 'b': 2}`, false},
		{`{?'a': optional.none(), 'b': 2}`, false},
		{`{1: 2, 'b': 3}`, false},
		{`{'a': 1, 'a': 2}`, false},
		{`{'a' + 'b': 1}`, false},
	} {
		got, err := convert(t, c, test.literal, input())
		want, wantErr := convert(t, c, `cel.bind(m, `+test.literal+`, m)`, input())
		if got != want || (err == nil) != (wantErr == nil) {
			t.Errorf("%s is %s, %v, as a map %s, %v", test.literal, got, err, want, wantErr)
		}
		if err != nil && test.direct && err.Error() != wantErr.Error() {
			t.Errorf("%s fails with\n%v, as a map with\n%v", test.literal, err, wantErr)
		}
	}
}
