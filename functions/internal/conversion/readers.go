package conversion

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// reader is a function that reads a number of some bytes at a byte offset.
type reader struct {
	name   string
	size   int
	result *cel.Type
	read   func([]byte) ref.Val // of size bytes
}

func readers() []reader {
	all := []reader{
		{"u8", 1, cel.IntType, func(b []byte) ref.Val { return types.Int(b[0]) }},
		{"i8", 1, cel.IntType, func(b []byte) ref.Val { return types.Int(int8(b[0])) }},
	}
	for _, e := range []struct {
		name   string
		order  binary.ByteOrder
		uint24 func([]byte) uint32
	}{
		{"be", binary.BigEndian, func(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }},
		{"le", binary.LittleEndian, func(b []byte) uint32 { return uint32(b[2])<<16 | uint32(b[1])<<8 | uint32(b[0]) }},
	} {
		all = append(all,
			reader{"u16" + e.name, 2, cel.IntType, func(b []byte) ref.Val { return types.Int(e.order.Uint16(b)) }},
			reader{"i16" + e.name, 2, cel.IntType, func(b []byte) ref.Val { return types.Int(int16(e.order.Uint16(b))) }},
			reader{"u24" + e.name, 3, cel.IntType, func(b []byte) ref.Val { return types.Int(e.uint24(b)) }},
			reader{"i24" + e.name, 3, cel.IntType, func(b []byte) ref.Val { return types.Int(int32(e.uint24(b)<<8) >> 8) }},
			reader{"u32" + e.name, 4, cel.IntType, func(b []byte) ref.Val { return types.Int(e.order.Uint32(b)) }},
			reader{"i32" + e.name, 4, cel.IntType, func(b []byte) ref.Val { return types.Int(int32(e.order.Uint32(b))) }},
			reader{"u64" + e.name, 8, cel.UintType, func(b []byte) ref.Val { return types.Uint(e.order.Uint64(b)) }},
			reader{"i64" + e.name, 8, cel.IntType, func(b []byte) ref.Val { return types.Int(e.order.Uint64(b)) }},
			reader{"f32" + e.name, 4, cel.DoubleType, func(b []byte) ref.Val { return types.Double(math.Float32frombits(e.order.Uint32(b))) }},
			reader{"f64" + e.name, 8, cel.DoubleType, func(b []byte) ref.Val { return types.Double(math.Float64frombits(e.order.Uint64(b))) }},
		)
	}
	return all
}

// readerFunctions declares the functions that read bytes. None takes longer for
// a longer payload.
func readerFunctions() []cel.EnvOption {
	var opts []cel.EnvOption
	for _, r := range readers() {
		opts = append(opts, cel.Function(r.name, cel.MemberOverload("bytes_"+r.name,
			[]*cel.Type{cel.BytesType, cel.IntType}, r.result,
			cel.BinaryBinding(func(b, at ref.Val) ref.Val {
				part, err := within(r.name, b.(types.Bytes), at.(types.Int), r.size)
				if err != nil {
					return types.WrapErr(err)
				}
				return r.read(part)
			}))))
	}
	return append(opts,
		cel.Function("bits", cel.MemberOverload("bytes_bits",
			[]*cel.Type{cel.BytesType, cel.IntType, cel.IntType}, cel.IntType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				return bitField(args[0].(types.Bytes), args[1].(types.Int), args[2].(types.Int))
			}))),
		cel.Function("slice", cel.MemberOverload("bytes_slice",
			[]*cel.Type{cel.BytesType, cel.IntType, cel.IntType}, cel.BytesType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				return byteSlice(args[0].(types.Bytes), args[1].(types.Int), args[2].(types.Int))
			}))))
}

func within(name string, b types.Bytes, at types.Int, size int) ([]byte, error) {
	if at < 0 || at > types.Int(len(b)-size) {
		return nil, fmt.Errorf("%s(%d) reads outside the payload: it takes %d bytes, the length is %d", name, at, size, len(b))
	}
	return b[at : int(at)+size], nil
}

// bitField reads an unsigned field. Offset 0 is the most significant bit of the
// first byte.
func bitField(b types.Bytes, offset, count types.Int) ref.Val {
	if count < 1 || count > 63 {
		return types.NewErr("bits(%d, %d): the count is from 1 to 63", offset, count)
	}
	all := types.Int(len(b)) * 8
	if offset < 0 || offset > all-count {
		return types.NewErr("bits(%d, %d) reads outside the payload: the length is %d bytes, %d bits", offset, count, len(b), all)
	}
	var n uint64
	for left := count; left > 0; {
		free := 8 - offset%8 // bits of this byte that are not read yet
		take := min(left, free)
		part := b[offset/8] >> (free - take) & (1<<take - 1)
		n = n<<take | uint64(part)
		offset += take
		left -= take
	}
	return types.Int(n)
}

func byteSlice(b types.Bytes, from, to types.Int) ref.Val {
	if from < 0 || from > to || to > types.Int(len(b)) {
		return types.NewErr("slice(%d, %d) reads outside the payload: the length is %d", from, to, len(b))
	}
	return b[from:to:to]
}
