package conversion

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

type vector struct {
	Payload string          `json:"payload"`
	Data    json.RawMessage `json:"data"`
}

// vectors are payloads of the reference encoder with what went into them.
func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("../cayenne/testdata/cayenne_lpp.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(text, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func plain(t testing.TB, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// paths are the ways in which a payload of Cayenne can become a result: the one
// without CEL, CEL with the payload decoded by the plan, and CEL with a map that
// CEL has made.
type paths struct{ direct, planned, copied *program }

func newPaths(t testing.TB) paths {
	t.Helper()
	c := newConverter(t, Limits{Cost: 1 << 40, Time: time.Minute})
	compile := func(expression string) *program {
		p, err := c.program(expression)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	direct := compile(`cayenne_lpp_decode(input)`)
	if !direct.whole {
		t.Fatal("the direct path is not taken")
	}
	planned := *direct
	planned.whole = false
	return paths{direct, &planned, compile(`cel.bind(m, cayenne_lpp_decode(input.slice(0, input.size())), m == m ? json_decode(json.encode(m)) : m)`)}
}

// same holds all paths to one result, in both of its forms.
func (p paths) same(t *testing.T, payload []byte) (Result, error) {
	t.Helper()
	in := Input{Payload: payload}
	direct, err := p.direct.run(t.Context(), &in)
	planned, err2 := p.planned.run(t.Context(), &in)
	if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
		t.Fatalf("%x: %v, through CEL %v", payload, err, err2)
	}
	if err != nil {
		return direct, err
	}
	text, plannedText := encode(t, direct), encode(t, planned)
	if !bytes.Equal(text, plannedText) {
		t.Fatalf("%x is\n%s, through CEL\n%s", payload, text, plannedText)
	}
	if a, b := direct.Struct(), planned.Struct(); !proto.Equal(a, b) {
		t.Fatalf("%x is\n%v, through CEL\n%v", payload, a, b)
	}
	return direct, nil
}

func encode(t testing.TB, r Result) []byte {
	t.Helper()
	text, err := r.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVectors(t *testing.T) {
	t.Parallel()
	all := newPaths(t)
	for _, v := range vectors(t) {
		payload := unhex(t, v.Payload)
		r, err := all.same(t, payload)
		if err != nil {
			t.Fatalf("%s: %v", v.Payload, err)
		}
		want := plain(t, v.Data)
		if got := encode(t, r); !reflect.DeepEqual(plain(t, got), want) {
			t.Errorf("%s is\n%s, want\n%s", v.Payload, got, v.Data)
		}
		if got := r.Struct().AsMap(); !reflect.DeepEqual(any(got), want) {
			t.Errorf("%s is the Struct\n%v, want\n%v", v.Payload, got, want)
		}
		copied, err := all.copied.run(t.Context(), &Input{Payload: payload})
		if err != nil || !reflect.DeepEqual(plain(t, encode(t, copied)), want) {
			t.Errorf("%s through a map is\n%s, %v, want\n%s", v.Payload, encode(t, copied), err, v.Data)
		}
	}
}

// TestCostOfPaths proves that both paths end at one cost.
func TestCostOfPaths(t *testing.T) {
	t.Parallel()
	payload := bytes.Repeat([]byte{1, 0, 7}, 10)
	for cost := uint64(1); cost < 10; cost++ {
		c := newConverter(t, Limits{Cost: cost})
		direct, err := c.program(`cayenne_lpp_decode(input)`)
		if err != nil {
			t.Fatal(err)
		}
		planned := *direct
		planned.whole = false
		_, err = paths{direct: direct, planned: &planned}.same(t, payload)
		if (err == nil) != (cost >= 4) {
			t.Errorf("with a limit of %d: %v", cost, err)
		}
	}
}

// FuzzConvert holds the path without CEL to the result of the path with it, for
// any payload.
func FuzzConvert(f *testing.F) {
	for i, v := range vectors(f) {
		if i%8 == 0 {
			f.Add(unhex(f, v.Payload))
		}
	}
	for _, payload := range []string{"", "01", "01ff", "0167", "01f007", "01f008e4000000ffffff", "0100010100020100"} {
		f.Add(unhex(f, payload))
	}
	all := newPaths(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if r, err := all.same(t, payload); err == nil {
			wellFormed(t, r)
		}
	})
}

// FuzzExpression holds any expression to: a result that is a JSON object and
// the same as a Struct, or an Error, in time.
func FuzzExpression(f *testing.F) {
	payload := []byte{1, 0x67, 0x01, 0x10}
	for _, expression := range []string{
		`cayenne_lpp_decode(input)`, `{'a': input.u8(0), 'b': [1.5, 'x', b'y', null, true, 2u]}`, `json_decode(input)`,
		`{'a': received_at, 'd': duration('1s'), 'n': device.name}`, `{1: {2u: {true: optional.of(1)}}}`,
		`{'a': [1, 2].map(x, x * 2).sortBy(x, -x), 'b': 'a,b'.split(',').join('+')}`, `{'a': '%s'.format([cayenne_lpp_decode(input)])}`,
	} {
		f.Add(expression, payload)
	}
	c := newConverter(f, Limits{})
	f.Fuzz(func(t *testing.T, expression string, payload []byte) {
		r, err := c.Convert(t.Context(), expression, Input{Payload: payload})
		var bad *Error
		if err == nil {
			wellFormed(t, r)
		} else if !errors.As(err, &bad) || bad.Reason == "" || bad.Message == "" || len(bad.Message) > maxMessage {
			t.Fatalf("%q: %#v", expression, err)
		}
	})
}

func wellFormed(t *testing.T, r Result) {
	t.Helper()
	text := encode(t, r)
	want := &structpb.Struct{}
	if err := want.UnmarshalJSON(text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got := r.Struct(); !proto.Equal(got, want) {
		t.Fatalf("%s is the Struct\n%v", text, got)
	}
	got := &structpb.Struct{}
	wire, ok := r.AppendStruct(nil, 1) // field 1 of some message
	_, _, n := protowire.ConsumeField(wire)
	wire, _ = protowire.ConsumeBytes(wire[1:])
	if err := proto.Unmarshal(wire, got); !ok || n < 0 || err != nil || !proto.Equal(got, want) {
		t.Fatalf("%s is encoded as the Struct\n%v, %v, %v", text, got, ok, err)
	}
}
