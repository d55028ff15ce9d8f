package conversion

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func newConverter(t testing.TB, l Limits) *Converter {
	t.Helper()
	c, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// input is what the tests convert: a temperature of 27.2 °C and the rest.
func input() Input {
	return Input{
		Payload:        []byte{1, 0x67, 0x01, 0x10},
		ReceivedAt:     time.Date(2026, 3, 4, 5, 6, 7, 890123000, time.UTC),
		DeviceID:       "d1",
		DeviceName:     "door",
		OrganizationID: "o1",
	}
}

// convert returns the JSON of a conversion.
func convert(t testing.TB, c *Converter, expression string, in Input) (string, error) {
	t.Helper()
	r, err := c.Convert(t.Context(), expression, in)
	if err != nil {
		return "", err
	}
	text, err := r.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func TestConvert(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	for _, test := range []struct{ name, expression, want string }{
		{"cayenne", `cayenne_lpp_decode(input)`, `{"temperature_1":27.2}`},
		{"cayenne in a map", `{'a': cayenne_lpp_decode(input), 'b': 1}`, `{"a":{"temperature_1":27.2},"b":1}`},
		{"arithmetic", `{'f': cayenne_lpp_decode(input).temperature_1 * 9.0 / 5.0 + 32.0}`, `{"f":80.96}`},
		{"twice", `{'t': cayenne_lpp_decode(input).temperature_1, 'u': cayenne_lpp_decode(input)['temperature_1']}`, `{"t":27.2,"u":27.2}`},
		{"another payload", `cayenne_lpp_decode(b'\x01\x00\x07')`, `{"digital_input_1":7}`},
		{"integers of cayenne are int", `{'n': cayenne_lpp_decode(b'\x01\x00\x07').digital_input_1 % 4}`, `{"n":3}`},
		{"zero degrees are a double, too", `{'f': cayenne_lpp_decode(b'\x01\x67\x00\x00').temperature_1 * 1.8 + 32.0}`, `{"f":32}`},
		{"cayenne that is empty", `{'a': optional.ofNonZeroValue(cayenne_lpp_decode(input)).hasValue(), 'b': optional.ofNonZeroValue(cayenne_lpp_decode(b'')).hasValue()}`, `{"a":true,"b":false}`},
		{"another payload by name", `cel.bind(b, b'\x01\x00\x07', cayenne_lpp_decode(b))`, `{"digital_input_1":7}`},
		{"input bound to another payload", `cel.bind(input, b'\x01\x00\x07', cayenne_lpp_decode(input))`, `{"digital_input_1":7}`},
		{"input as another name", `[b'\x01\x00\x07'].map(input, cayenne_lpp_decode(input))[0]`, `{"digital_input_1":7}`},
		{"presence", `{'a': has(cayenne_lpp_decode(input).humidity_1), 'b': 'temperature_1' in cayenne_lpp_decode(input), 'c': dyn(1) in cayenne_lpp_decode(input)}`, `{"a":false,"b":true,"c":false}`},
		{"loop over cayenne", `{'k': cayenne_lpp_decode(input).map(k, k)}`, `{"k":["temperature_1"]}`},
		{"loops over cayenne keep its order", `cel.bind(m, cayenne_lpp_decode(b'\x03\x00\x07\x02\x00\x06\x0a\x00\x05\x04\x00\x04\x01\x00\x03\x01\x66\x02'), {'k': m.map(k, k), 'v': m.map(k, m[k])})`,
			`{"k":["digital_input_1","digital_input_10","digital_input_2","digital_input_3","digital_input_4","presence_1"],"v":[3,5,6,7,4,2]}`},
		{"cayenne is equal to itself", `{'e': cayenne_lpp_decode(input) == {'temperature_1': 27.2}, 'f': {'temperature_1': 27.2} == cayenne_lpp_decode(input)}`, `{"e":true,"f":true}`},
		{"variables", `{'d': device, 'at': received_at, 'size': input.size()}`,
			`{"at":"2026-03-04T05:06:07.890123Z","d":{"id":"d1","name":"door","organization_id":"o1"},"size":4}`},
		{"integers", `{'min': -9223372036854775808, 'max': 18446744073709551615u}`, `{"max":18446744073709551615,"min":-9223372036854775808}`},
		{"doubles", `{'a': 20.0, 'b': 0.1 + 0.2, 'c': 1e17, 'd': 1e-7, 'e': -0.0, 'f': 1e300}`, `{"a":20,"b":0.30000000000000004,"c":1e+17,"d":1e-7,"e":-0,"f":1e+300}`},
		{"bytes", `{'b': input}`, `{"b":"AWcBEA=="}`},
		{"bytes, the alphabet", `{'b': b'\xfb\xff'}`, `{"b":"+/8="}`},
		{"timestamp", `{'t': timestamp('2026-01-02T03:04:05+01:00')}`, `{"t":"2026-01-02T02:04:05Z"}`},
		{"durations", `{'a': duration('90m'), 'b': duration('-1500ms'), 'c': duration('1ns'), 'd': duration('-500ms')}`, `{"a":"5400s","b":"-1.5s","c":"0.000000001s","d":"-0.5s"}`},
		{"null, lists, booleans", `{'n': null, 'l': [1, 'a', [], {}], 't': true}`, `{"l":[1,"a",[],{}],"n":null,"t":true}`},
		{"keys", `{1: 'a', 2u: 'b', true: 'c', 's': 'd', '': 'e'}`, `{"":"e","1":"a","2":"b","s":"d","true":"c"}`},
		{"one key on each level", `{'a': {'a': {'a': 1}}}`, `{"a":{"a":{"a":1}}}`},
		{"keys are sorted by bytes", `{'b': 1, 'a': 1, 'B': 1, 'é': 1, '_': 1}`, `{"B":1,"_":1,"a":1,"b":1,"é":1}`},
		{"escapes", `{'a"\\\n\u0001': '<&>"\\\t'}`, `{"a\"\\\n\u0001":"\u003c\u0026\u003e\"\\\t"}`},
		{"optional result", `optional.of({'a': 1})`, `{"a":1}`},
		{"optional members", `{?'a': {'x': 1}[?'x'], ?'b': {'x': 1}[?'y'], 'c': optional.of(3)}`, `{"a":1,"c":3}`},
		{"optional members and a computed key", `{?'a': optional.none(), 'b' + 'c': 1}`, `{"bc":1}`},
		{"json", `json_decode('{"a": 9007199254740993, "b": 18446744073709551615, "c": 1.0, "d": [null, true, "x"]}')`,
			`{"a":9007199254740993,"b":18446744073709551615,"c":1,"d":[null,true,"x"]}`},
		{"json of bytes", `json_decode(b' {"a": 1e3, "b": -0, "a": 2} \n')`, `{"a":2,"b":0}`},
		{"json with exponents", `json_decode('{"a": 1E3, "b": 2e-1, "c": -1.5E+2}')`, `{"a":1000,"b":0.2,"c":-150}`},
		{"json as deep as it may be", `{'n': json_decode('` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + `').size()}`, `{"n":1}`},
		{"json is dynamic", `{'sum': json_decode('[1, 2]')[0] + json_decode('[1, 2]')[1]}`, `{"sum":3}`},
		{"hex", `{'h': hex(input), 'u': hex(unhex('C0fe'))}`, `{"h":"01670110","u":"c0fe"}`},
		{"extensions", `cel.bind(s, 'a-b'.split('-'), {'join': s.join('+'), 'max': math.greatest(1, 2), 'flat': [[1], [2]].flatten(), 'in': sets.contains([1, 2], [2]), 'b64': base64.encode(b'ab'), 'range': lists.range(3), 'fmt': '%d %.2f'.format([1, 2.5]), 'm': 'abc'.matches('^a.c$'), 'r': 'aa'.replace('a', 'b'), 'sorted': [2, 1].sort(), 'json': json.encode([1])})`,
			`{"b64":"YWI=","flat":[1,2],"fmt":"1 2.50","in":true,"join":"a+b","json":"[1]","m":true,"max":2,"r":"bb","range":[0,1,2],"sorted":[1,2]}`},
		{"comprehensions", `{'l': [1, 2, 3].filter(x, x > 1).map(x, x * 2), 'e': [1, 2].exists(x, x == 2), 'c': 'ab' + 'c', 'b': b'a' + b'b', 'd': dyn('a') + dyn('b'), 'ne': [1] != [2]}`,
			`{"b":"YWI=","c":"abc","d":"ab","e":true,"l":[4,6],"ne":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := convert(t, c, test.expression, input())
			if err != nil || got != test.want {
				t.Errorf("%s\ngot  %s, %v\nwant %s", test.expression, got, err, test.want)
			}
			if err := c.Check(test.expression); err != nil {
				t.Errorf("Check(%s): %v", test.expression, err)
			}
		})
	}
}

// TestReceivedElsewhere holds that an expression sees the time in UTC, wherever it was taken.
func TestReceivedElsewhere(t *testing.T) {
	t.Parallel()
	in := input()
	in.ReceivedAt = in.ReceivedAt.In(time.FixedZone("elsewhere", 5*60*60))
	got, err := convert(t, newConverter(t, Limits{}), `{'hour': received_at.getHours(), 'text': string(received_at)}`, in)
	if want := `{"hour":5,"text":"2026-03-04T05:06:07.890123Z"}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestConvertErrors(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	for _, test := range []struct{ expression, reason, message string }{
		{``, NoExpression, "there is no payload conversion"},
		{`{'a': ` + strings.Repeat(" ", 20000) + `1}`, ExpressionTooLong, "the expression has 20008 bytes, the limit is 16384"},
		{`{'a': nope}`, InvalidExpression, "1:7: undeclared reference to 'nope'"},
		{"{\n 'a': 1 + 'b'}", InvalidExpression, "2:9: found no matching overload for '_+_'"},
		{`{'a': }`, InvalidExpression, "1:7: Syntax error"},
		{`{'a': [q, r, s, t, u]}`, InvalidExpression, "1:14: undeclared reference to 's' (in container ''); and 2 more"},
		{`1 + 1`, InvalidExpression, "1:1: the expression yields int, a map is needed"},
		{`optional.of(1)`, InvalidExpression, "1:1: the expression yields optional_type(int), a map is needed"},
		{`[input]`, InvalidExpression, "1:1: the expression yields list(bytes), a map is needed"},
		{`{'a': 'x'.matches('(')}`, InvalidExpression, "1:19: error parsing regexp"},
		{`{'a': 'x'.matches('x{1000}x{1000}')}`, InvalidExpression, "1:19: the regular expression has 2002 instructions, the limit is 1000"},
		{`dyn(1)`, ResultNotMap, "the expression yields int, a map is needed"},
		{`json_decode('[1]')`, ResultNotMap, "the expression yields list, a map is needed"},
		{`optional.none()`, ResultNotMap, "the expression yields optional_type, a map is needed"},
		{`{'a': optional.none()}`, ResultInvalid, `"a" is an optional without a value`},
		{`{'a': 0.0 / 0.0}`, ResultInvalid, `"a" is NaN, which JSON cannot hold`},
		{`{'a': [-1.0 / 0.0]}`, ResultInvalid, `a value without a key is -Inf, which JSON cannot hold`},
		{`{'a': 0.0 / 0.0, 'b': type(1)}`, ResultInvalid, `"a" is NaN`},
		{`{'a': type(1)}`, ResultInvalid, `"a" is type, which JSON cannot hold`},
		{`{'a': 1, 'b': {'x': 1, 'y': 2, 'x': 3}}`, InvalidExpression, "1:32: the map has this key twice"},
		{`{1: 1, 1u: 2}`, InvalidExpression, "1:8: the map has this key twice"},
		{`{'a': 1, 'a' + '': 2}`, EvaluationFailed, "two keys of a map are equal"},
		{`{'a': [{device.id: 1, 'd' + '1': 2}]}`, EvaluationFailed, "two keys of a map are equal"},
		{`{1: 'a', '1': 'b'}`, ResultInvalid, `two keys of a map become "1"`},
		{`{'a': {true: 1, 'true': 2}}`, ResultInvalid, `two keys of a map become "true"`},
		{`cayenne_lpp_decode(b'\x01\x05')`, EvaluationFailed, "cayenne lpp: at byte 1: type 5 is unknown"},
		{`cayenne_lpp_decode(b'\x01')`, EvaluationFailed, "cayenne lpp: at byte 0: a single byte is left"},
		{`{'a': cayenne_lpp_decode(input).humidity_1}`, EvaluationFailed, "no such key: humidity_1"},
		{`{'a': 1 / 0}`, EvaluationFailed, "division by zero"},
		{`{'a': 1, 'b': 1 / 0}`, EvaluationFailed, "division by zero"},
		{`{'a': string(1 / 0).matches('a')}`, EvaluationFailed, "division by zero"},
		{`{'a': 'a'.matches(string(1 / 0))}`, EvaluationFailed, "division by zero"},
		{`{'a': dyn(true) + dyn(1)}`, EvaluationFailed, "no such overload"},
		{`{'a': dyn(1).matches('a')}`, EvaluationFailed, "no such overload"},
		{`json_decode('')`, EvaluationFailed, "json_decode: there is no JSON text"},
		{`json_decode('{} {}')`, EvaluationFailed, "json_decode: there is more than one JSON text: the first ends at byte 2"},
		{`json_decode('{} x')`, EvaluationFailed, "json_decode: there is more than one JSON text"},
		{`json_decode('{"a": 01}')`, EvaluationFailed, "json_decode: invalid character '1'"},
		{`json_decode('{"a": 1')`, EvaluationFailed, "json_decode: unexpected EOF"},
		{`json_decode(b'"\xff"')`, EvaluationFailed, "json_decode: the text is not UTF-8"},
		{`json_decode('{"a": 18446744073709551616}')`, EvaluationFailed, "json_decode: the integer 18446744073709551616 does not fit into 64 bits"},
		{`json_decode('{"a": 1e999}')`, EvaluationFailed, "json_decode: the number 1e999 is beyond a double"},
		{`json_decode('` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `')`, EvaluationFailed, "json_decode: the text nests deeper than 128"},
		{`json_decode('` + strings.Repeat(`{"a":`, 129) + "1" + strings.Repeat("}", 129) + `')`, EvaluationFailed, "json_decode: the text nests deeper than 128"},
		{`{'a': unhex('0')}`, EvaluationFailed, "unhex: encoding/hex: odd length hex string"},
		{`{'a': unhex('zz')}`, EvaluationFailed, "unhex: encoding/hex: invalid byte"},
	} {
		name := test.expression[:min(len(test.expression), 40)]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := convert(t, c, test.expression, input())
			expect(t, err, test.reason, test.message)
			var checked *Error
			if atWrite := errors.As(c.Check(test.expression), &checked); atWrite {
				expect(t, checked, test.reason, test.message)
			} else if test.reason == InvalidExpression {
				t.Error("Check finds nothing")
			}
		})
	}
}

// expect holds an error to its reason and a part of its message.
func expect(t testing.TB, err error, reason, part string) {
	t.Helper()
	var bad *Error
	if !errors.As(err, &bad) || bad.Reason != reason || !strings.Contains(bad.Message, part) {
		t.Errorf("got %#v\nwant %s: … %s …", err, reason, part)
	}
}
