package conversion

import (
	"reflect"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"ponix/functions/internal/cayenne"
)

// sample has six readings: temperature, humidity, analog input, barometer,
// accelerometer, gps; 37 bytes.
var sample = []byte{
	1, 103, 0x01, 0x10,
	2, 104, 0x83,
	3, 2, 0x01, 0x4a,
	4, 115, 0x27, 0x94,
	5, 113, 0x04, 0xd2, 0xfb, 0x2e, 0x00, 0x00,
	6, 136, 0x06, 0x76, 0x5f, 0xf2, 0x96, 0x0a, 0x00, 0x03, 0xe8,
}

var benchmarks = []struct{ name, expression string }{
	{"cayenne", `cayenne_lpp_decode(input)`},
	{"map", `{'t': cayenne_lpp_decode(input).temperature_1, 'f': cayenne_lpp_decode(input).temperature_1 * 9.0 / 5.0 + 32.0}`},
	{"readers", `{'t': double(input.i16be(2)) / 10.0, 'h': input.u8(6), 'b': input.bits(0, 4)}`},
}

// BenchmarkConvert compares, for JSON and for a Struct, what Convert takes with
// the idiomatic way: a map of variables, a Go map of the readings, the same
// limits, and the value converted to a Struct and marshalled by protojson. The
// ratio of ours to idiomatic of one run is what counts.
func BenchmarkConvert(b *testing.B) {
	c := newConverter(b, Limits{})
	for _, bench := range benchmarks {
		in := input()
		in.Payload = sample
		program := idiomatic(b, c, bench.expression)
		b.Run(bench.name+"/json/idiomatic", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protojson.Marshal(idiomaticStruct(b, program, in)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"/json/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Convert(b.Context(), bench.expression, in)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.AppendJSON(nil); err != nil {
					b.Fatal(err)
				}
				r.Release()
			}
		})
		b.Run(bench.name+"/struct/idiomatic", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				idiomaticStruct(b, program, in)
			}
		})
		b.Run(bench.name+"/struct/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Convert(b.Context(), bench.expression, in)
				if err != nil || r.Struct() == nil {
					b.Fatal(err)
				}
				r.Release()
			}
		})
	}
}

// idiomatic compiles an expression as one would without this package.
func idiomatic(t testing.TB, c *Converter, expression string) cel.Program {
	t.Helper()
	opts := append(readerFunctions(),
		cel.Variable("input", cel.BytesType),
		cel.Variable("received_at", cel.TimestampType),
		cel.Variable("device", cel.MapType(cel.StringType, cel.StringType)),
		cel.Function(cayenneFunction, cel.Overload("cayenne_lpp_decode_bytes",
			[]*cel.Type{cel.BytesType}, cel.MapType(cel.StringType, cel.DynType),
			cel.UnaryBinding(func(v ref.Val) ref.Val {
				m, err := cayenne.Decode(v.(types.Bytes))
				if err != nil {
					return types.WrapErr(err)
				}
				return types.DefaultTypeAdapter.NativeToValue(m)
			}))))
	env, err := cel.NewEnv(opts...)
	if err != nil {
		t.Fatal(err)
	}
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	p, err := env.Program(checked, cel.CostLimit(c.limits.Cost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var structType = reflect.TypeFor[*structpb.Struct]()

func idiomaticStruct(t testing.TB, p cel.Program, in Input) *structpb.Struct {
	v, _, err := p.ContextEval(t.Context(), map[string]any{
		"input":       in.Payload,
		"received_at": in.ReceivedAt,
		"device":      map[string]string{"id": in.DeviceID, "name": in.DeviceName, "organization_id": in.OrganizationID},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.ConvertToNative(structType)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*structpb.Struct)
}

// TestIdiomatic proves that both ways that BenchmarkConvert compares yield the
// same.
func TestIdiomatic(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	in := input()
	in.Payload = sample
	for _, bench := range benchmarks {
		r, err := c.Convert(t.Context(), bench.expression, in)
		if err != nil {
			t.Fatal(err)
		}
		want := idiomaticStruct(t, idiomatic(t, c, bench.expression), in)
		if got := r.Struct(); !proto.Equal(got, want) {
			t.Errorf("%s is\n%v\nwant\n%v", bench.expression, got, want)
		}
	}
}

// TestAllocations holds the most frequent conversion to a few allocations.
func TestAllocations(t *testing.T) {
	c := newConverter(t, Limits{})
	in := input()
	in.Payload = sample
	got := testing.AllocsPerRun(100, func() {
		r, err := c.Convert(t.Context(), benchmarks[0].expression, in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.AppendJSON(nil); err != nil {
			t.Fatal(err)
		}
	})
	if got > 12 {
		t.Errorf("converting to JSON takes %v allocations, want at most 12", got)
	}
}

// TestLargePayloadAllocations holds that what 15 kB of readings are built in is used again.
func TestLargePayloadAllocations(t *testing.T) {
	c := newConverter(t, Limits{})
	in := input()
	in.Payload = nil
	for channel := range 256 {
		for _, r := range []struct{ kind, size byte }{
			{103, 2}, {104, 1}, {2, 2}, {115, 2}, {113, 6}, {136, 9}, {0, 1}, {1, 1}, {3, 2}, {101, 2}, {102, 1}, {134, 6},
		} {
			in.Payload = append(append(in.Payload, byte(channel), r.kind), make([]byte, r.size)...)
		}
	}
	got := testing.AllocsPerRun(100, func() {
		r, err := c.Convert(t.Context(), benchmarks[0].expression, in)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		if _, err := r.AppendJSON(nil); err != nil {
			t.Fatal(err)
		}
	})
	if got > 12 {
		t.Errorf("converting %d bytes to JSON takes %v allocations, want at most 12", len(in.Payload), got)
	}
}

// TestBuilderForgets holds that nothing of the maps that were built is kept, nor of those
// that were not because one of them has a key twice.
func TestBuilderForgets(t *testing.T) {
	adapt := types.DefaultTypeAdapter
	inner := adapt.NativeToValue(map[string]int{"a": 1, "b": 2, "c": 3})
	for name, fails := range map[string]bool{"built": false, "a key twice": true} {
		members := map[ref.Val]ref.Val{types.String("1"): inner, types.String("x"): inner}
		if fails {
			members[types.Int(1)] = inner
		}
		b := &builder{limits: &Limits{Depth: 8, Result: 1 << 20}}
		b.value("", types.NewRefValMap(adapt, map[ref.Val]ref.Val{types.String("m"): types.NewRefValMap(adapt, members), types.String("n"): inner}))
		if (b.err != nil) != fails {
			t.Errorf("%s: the error is %v", name, b.err)
		}
		all := b.entries[:cap(b.entries)]
		if len(all) == 0 || len(b.entries) != 0 {
			t.Errorf("%s: %d entries of %d are open", name, len(b.entries), len(all))
		}
		for i, e := range all {
			if e.key != "" || e.value != nil {
				t.Errorf("%s: entry %d is kept: %q", name, i, e.key)
			}
		}
	}
}
