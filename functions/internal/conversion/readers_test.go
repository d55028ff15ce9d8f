package conversion

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
)

func TestReaders(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	in := Input{Payload: []byte{0x81, 0x02, 0x03, 0x84, 0x05, 0x06, 0x07, 0x88, 0x41, 0x20, 0x00, 0x00, 0xff}}
	for _, test := range []struct{ call, want string }{
		{"u8(0)", "129"}, {"u8(12)", "255"}, {"i8(0)", "-127"}, {"i8(12)", "-1"}, {"i8(1)", "2"},
		{"u16be(0)", "33026"}, {"u16le(0)", "641"}, {"i16be(0)", "-32510"}, {"i16le(0)", "641"}, {"i16le(2)", "-31741"},
		{"u24be(0)", "8454659"}, {"u24le(0)", "197249"}, {"i24be(0)", "-8322557"}, {"i24le(0)", "197249"}, {"i24le(1)", "-8125694"},
		{"u32be(0)", "2164392836"}, {"u32le(0)", "2214789761"}, {"i32be(0)", "-2130574460"}, {"i32le(0)", "-2080177535"},
		{"u64be(0)", "9295996446400972680"}, {"u64le(0)", "9801809734754566785"}, {"i64be(0)", "-9150747627308578936"}, {"i64le(0)", "-8644934338954984831"},
		{"f32be(8)", "10"}, {"f32le(8)", "1.1570521419930015e-41"}, {"f64be(5)", "1.2963950814947147e-279"}, {"f64le(5)", "-5.486292831304433e+303"},
		{"bits(0, 1)", "1"}, {"bits(1, 7)", "1"}, {"bits(0, 8)", "129"}, {"bits(4, 8)", "16"}, {"bits(6, 4)", "4"},
		{"bits(0, 63)", "4647998223200486340"}, {"bits(1, 63)", "72624409546196872"}, {"bits(96, 8)", "255"}, {"bits(103, 1)", "1"},
		{"slice(1, 3)", `"AgM="`}, {"slice(0, 0)", `""`}, {"slice(13, 13)", `""`}, {"slice(8, 12).f32be(0)", "10"},
	} {
		got, err := convert(t, c, "{'v': input."+test.call+"}", in)
		if err != nil {
			t.Errorf("%s: %v", test.call, err)
			continue
		}
		got = strings.TrimSuffix(strings.TrimPrefix(got, `{"v":`), "}")
		if got != test.want {
			t.Errorf("%s is %s, want %s", test.call, got, test.want)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	t.Parallel()
	c := newConverter(t, Limits{})
	in := Input{Payload: []byte{1, 2, 3, 4}}
	for _, test := range []struct{ call, want string }{
		{"u8(4)", "u8(4) reads outside the payload: it takes 1 bytes, the length is 4"},
		{"u8(-1)", "u8(-1) reads outside the payload"},
		{"i16be(3)", "i16be(3) reads outside the payload: it takes 2 bytes, the length is 4"},
		{"u24le(2)", "u24le(2) reads outside the payload: it takes 3 bytes, the length is 4"},
		{"f64le(0)", "f64le(0) reads outside the payload: it takes 8 bytes, the length is 4"},
		{"u32be(9223372036854775807)", "u32be(9223372036854775807) reads outside the payload"},
		{"u32be(-9223372036854775808)", "u32be(-9223372036854775808) reads outside the payload"},
		{"bits(0, 0)", "bits(0, 0): the count is from 1 to 63"},
		{"bits(0, 64)", "bits(0, 64): the count is from 1 to 63"},
		{"bits(32, 1)", "bits(32, 1) reads outside the payload: the length is 4 bytes, 32 bits"},
		{"bits(-1, 1)", "bits(-1, 1) reads outside the payload"},
		{"bits(9223372036854775807, 63)", "bits(9223372036854775807, 63) reads outside the payload"},
		{"slice(0, 5)", "slice(0, 5) reads outside the payload: the length is 4"},
		{"slice(3, 2)", "slice(3, 2) reads outside the payload"},
		{"slice(-1, 2)", "slice(-1, 2) reads outside the payload"},
	} {
		_, err := convert(t, c, "{'v': input."+test.call+"}", in)
		expect(t, err, EvaluationFailed, test.want)
	}
}

// FuzzReaders holds every reader to: a value, the same as math/big reads, or an
// error that names the function, the offset and the length.
func FuzzReaders(f *testing.F) {
	for _, at := range []int64{0, 1, 5, 8, -1, 1 << 62, -1 << 63, 1<<63 - 1} {
		f.Add([]byte{0x81, 2, 3, 4, 5, 6, 7, 0x88, 9}, at, int64(3))
	}
	f.Add([]byte{}, int64(0), int64(63))
	f.Fuzz(func(t *testing.T, b []byte, at, count int64) {
		for _, r := range readers() {
			part, err := within(r.name, b, types.Int(at), r.size)
			inside := at >= 0 && at <= int64(len(b))-int64(r.size)
			if (err == nil) != inside {
				t.Fatalf("%s(%d) of %d bytes: %v", r.name, at, len(b), err)
			}
			if err != nil {
				if want := fmt.Sprintf("%s(%d) ", r.name, at); !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), fmt.Sprint(len(b))) {
					t.Fatal(err)
				}
				continue
			}
			if v := r.read(part); types.IsUnknownOrError(v) {
				t.Fatalf("%s(%d) is %v", r.name, at, v)
			}
		}
		checkBits(t, b, at, count)
		v := byteSlice(b, types.Int(at), types.Int(count))
		if inside := at >= 0 && at <= count && count <= int64(len(b)); types.IsError(v) == inside {
			t.Fatalf("slice(%d, %d) of %d bytes is %v", at, count, len(b), v)
		}
	})
}

func checkBits(t *testing.T, b []byte, at, count int64) {
	t.Helper()
	v := bitField(b, types.Int(at), types.Int(count))
	inside := count >= 1 && count <= 63 && at >= 0 && at <= int64(len(b))*8-count
	if types.IsError(v) == inside {
		t.Fatalf("bits(%d, %d) of %d bytes is %v", at, count, len(b), v)
	}
	if !inside {
		return
	}
	n := new(big.Int).SetBytes(b)
	n.Rsh(n, uint(int64(len(b))*8-at-count))
	n.And(n, new(big.Int).SetUint64(1<<count-1))
	if n.Int64() != int64(v.(types.Int)) {
		t.Fatalf("bits(%d, %d) of %x is %v, want %s", at, count, b, v, n)
	}
}

// TestByteOrder proves that each pair of readers differs in order alone.
func TestByteOrder(t *testing.T) {
	t.Parallel()
	found := map[string]reader{}
	for _, r := range readers() {
		found[r.name] = r
	}
	for name, be := range found {
		base, ok := strings.CutSuffix(name, "be")
		if !ok {
			continue
		}
		b := make([]byte, 8)
		binary.BigEndian.PutUint64(b, 0x8182838485868788)
		b = b[:be.size]
		reversed := make([]byte, len(b))
		for i := range b {
			reversed[len(b)-1-i] = b[i]
		}
		if x, y := be.read(b), found[base+"le"].read(reversed); x.Equal(y) != types.True {
			t.Errorf("%s reads %v, %sle %v", name, x, base, y)
		}
	}
}
