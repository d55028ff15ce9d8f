package conversion

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestExact(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	for _, test := range []struct {
		expression string
		exact      bool
		structure  string // as JSON
	}{
		{`{'a': 9007199254740992}`, true, `{"a": 9007199254740992}`},
		{`{'a': -9007199254740992}`, true, `{"a": -9007199254740992}`},
		{`{'a': 9007199254740993}`, false, `{"a": 9007199254740992}`},
		{`{'a': -9007199254740993}`, false, `{"a": -9007199254740992}`},
		{`{'a': [{'b': 18446744073709551615u}]}`, false, `{"a": [{"b": 18446744073709551616}]}`},
		{`{'a': 1e300, 'b': null, 'c': [true, 'x', {}], 'd': duration('1s')}`, true, `{"a": 1e300, "b": null, "c": [true, "x", {}], "d": "1s"}`},
		{`{'a': '%s'.format([b'\xff']), 'b': cel.bind(k, '%s'.format([b'\xfe']), {k: 1})}`, true, `{"a": "\ufffd", "b": {"\ufffd": 1}}`}, // no UTF-8
		{`cayenne_lpp_decode(b'\x01\x64\xff\xff\xff\xff\x02\x8e\x01\x03\x87abc\x04\xf0\x08\x01\x00\x00\x01\x00\x00\x02')`, true,
			`{"generic_sensor_1": 4294967295, "switch_2": true, "colour_3": "#616263", "polyline_4": {"points": [{"latitude": 0.0001, "longitude": 0.0002}]}}`},
	} {
		r, err := c.Convert(t.Context(), test.expression, input())
		if err != nil {
			t.Errorf("%s: %v", test.expression, err)
			continue
		}
		if r.Exact() != test.exact {
			t.Errorf("%s: Exact returns %v", test.expression, r.Exact())
		}
		want := &structpb.Struct{}
		if err := want.UnmarshalJSON([]byte(test.structure)); err != nil {
			t.Fatal(err)
		}
		if got := r.Struct(); !proto.Equal(got, want) {
			t.Errorf("%s\ngot  %v\nwant %v", test.expression, got, want)
		}
		wellEncoded(t, r, want)
		r.Release() // what was inexact is nothing to the next one
	}
}

// TestRelease has results made in the room of others, at the same time, and each is what
// it should be.
func TestRelease(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{Result: 300})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2000 {
				items := strings.Repeat(fmt.Sprint(i, ","), i%20)
				want := fmt.Sprintf(`{"of":%d,"v":[%s]}`, i, strings.TrimSuffix(items, ","))
				r, err := c.Convert(t.Context(), fmt.Sprintf(`{'of': input.u16be(0), 'v': lists.range(%d).map(n, input.u16be(0))}`, i%20), Input{Payload: []byte{byte(i >> 8), byte(i)}})
				if i%7 == 0 { // some fail, and leave nothing behind
					_, err := c.Convert(t.Context(), `{'v': lists.range(200)}`, Input{Payload: []byte{1, 2}})
					if err == nil {
						t.Error("a result of more than 300 bytes passes")
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				got, err := r.AppendJSON(nil)
				if err != nil || string(got) != want {
					t.Errorf("got %s, %v, want %s", got, err, want)
				}
				r.Release()
			}
		})
	}
	all.Wait()
	Result{}.Release() // is nothing
}

func wellEncoded(t *testing.T, r Result, want *structpb.Struct) {
	t.Helper()
	got := &structpb.Struct{}
	wire, ok := r.AppendStruct(nil, 1) // field 1 of some message
	_, _, n := protowire.ConsumeField(wire)
	wire, _ = protowire.ConsumeBytes(wire[1:])
	if err := proto.Unmarshal(wire, got); !ok || n < 0 || err != nil || !proto.Equal(got, want) {
		t.Errorf("the encoded Struct is\n%v, %v, %v\nwant %v", got, ok, err, want)
	}
}

// TestAppendStruct holds the lengths of all widths, and the refusal of what is no
// UTF-8.
func TestAppendStruct(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 100, 126, 127, 128, 16 << 10, 1 << 17} {
		text := strings.Repeat("x", n)
		inner := []node{{kind: kindObject, size: 1}, {key: "k", kind: kindList, size: 2}, {kind: kindText, text: text}, {kind: kindNull}}
		want, err := structpb.NewStruct(map[string]any{"k": []any{text, nil}})
		if err != nil {
			t.Fatal(err)
		}
		wellEncoded(t, Result{nodes: inner}, want)
	}
	for _, bad := range []node{{key: "\xff", kind: kindNull}, {key: "k", kind: kindText, text: "\xff"}} {
		if wire, ok := (Result{nodes: []node{{kind: kindObject, size: 1}, bad}}).AppendStruct(nil, 1); ok || len(wire) > 0 {
			t.Errorf("%q %q is encoded as %x", bad.key, bad.text, wire)
		}
	}
	if _, ok := (Result{}).AppendStruct(nil, 1); ok {
		t.Error("the zero Result has a Struct")
	}
}

func TestZeroResult(t *testing.T) {
	t.Parallel()
	if text, err := (Result{}).AppendJSON(nil); err == nil {
		t.Errorf("it is %s", text)
	}
	if s := (Result{}).Struct(); s != nil {
		t.Errorf("it is %v", s)
	}
}

// TestDouble proves that the text of a double is that double, that none up to
// 2^53 is written in another way than encoding/json has, and that none beyond it
// looks like an integer.
func TestDouble(t *testing.T) {
	t.Parallel()
	for _, f := range []float64{
		0, 1, -1, 20, 20.5, 0.1, 27.2, 1e-6, 9.99e-7, 1e-7, 1.5e-10, 1e-300, math.SmallestNonzeroFloat64,
		maxExact - 1, maxExact, 1e15, 1e16, 1e17, 1e20, 1e21, 1.5e22, math.MaxFloat64, -1e18, math.Copysign(0, -1),
	} {
		text := string(appendDouble(nil, f))
		back, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Float64bits(back) != math.Float64bits(f) {
			t.Errorf("%v is %s, which is %v, %v", f, text, back, err)
		}
		plain, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(f) <= maxExact && text != string(plain) {
			t.Errorf("%v is %s, want %s", f, text, plain)
		}
		if _, err := strconv.ParseInt(text, 10, 64); math.Abs(f) > maxExact && err == nil {
			t.Errorf("%v is %s, which looks like an integer", f, text)
		}
	}
}

// TestResultStaysPut proves that a result does not change when others are made.
func TestResultStaysPut(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	r, err := c.Convert(t.Context(), `{'a': 'first', 'b': [1, 2]}`, input())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := c.Convert(t.Context(), `{'z': 'second', 'y': ['x', 'y', 'z']}`, input()); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := r.AppendJSON([]byte("> ")); string(text) != `> {"a":"first","b":[1,2]}` {
		t.Errorf("it is %s, %v", text, err)
	}
}
