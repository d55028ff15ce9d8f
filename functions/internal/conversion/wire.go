package conversion

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of google/protobuf/struct.proto.
const (
	structFields = 1
	entryKey     = 1
	entryValue   = 2
	valueNull    = 1
	valueNumber  = 2
	valueString  = 3
	valueBool    = 4
	valueStruct  = 5
	valueList    = 6
	listValues   = 1
)

// AppendStruct appends what Struct returns as protobuf writes it in a field of that
// number, without making it; with its keys sorted. It is false, and nothing is
// appended, where protobuf would refuse a text that is not UTF-8.
func (r Result) AppendStruct(dst []byte, field protowire.Number) ([]byte, bool) {
	if len(r.nodes) == 0 {
		return dst, false
	}
	for i := range r.nodes {
		if n := &r.nodes[i]; !utf8.ValidString(n.key) || !utf8.ValidString(n.text) {
			return dst, false
		}
	}
	dst, at := begin(slices.Grow(dst, 2*r.size+8), field)
	dst, _ = appendMessage(dst, &r.nodes[0], r.nodes[1:])
	return end(dst, at), true
}

// appendMessage appends the Struct or the ListValue that n is. rest begins with its
// members.
func appendMessage(dst []byte, n *node, rest []node) ([]byte, []node) {
	for range n.size {
		var field, value int
		if n.kind == kindList {
			dst, value = begin(dst, listValues)
			dst, rest = appendValue(dst, rest)
			dst = end(dst, value)
			continue
		}
		dst, field = begin(dst, structFields)
		dst = protowire.AppendString(protowire.AppendTag(dst, entryKey, protowire.BytesType), rest[0].key)
		dst, value = begin(dst, entryValue)
		dst, rest = appendValue(dst, rest)
		dst = end(end(dst, value), field)
	}
	return dst, rest
}

// appendValue appends the Value that the first node is.
func appendValue(dst []byte, ns []node) ([]byte, []node) {
	n, rest := &ns[0], ns[1:]
	switch n.kind {
	case kindNull:
		dst = protowire.AppendVarint(protowire.AppendTag(dst, valueNull, protowire.VarintType), 0)
	case kindBoolean:
		dst = protowire.AppendVarint(protowire.AppendTag(dst, valueBool, protowire.VarintType), n.bits)
	case kindText:
		dst = protowire.AppendString(protowire.AppendTag(dst, valueString, protowire.BytesType), n.text)
	case kindList, kindObject:
		field := protowire.Number(valueStruct)
		if n.kind == kindList {
			field = valueList
		}
		dst, at := begin(dst, field)
		dst, rest = appendMessage(dst, n, rest)
		return end(dst, at), rest
	default:
		dst = protowire.AppendFixed64(protowire.AppendTag(dst, valueNumber, protowire.Fixed64Type), math.Float64bits(n.float64()))
	}
	return dst, rest
}

// begin appends a field's tag and room for its length, which is mostly one byte.
func begin(dst []byte, field protowire.Number) (_ []byte, at int) {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return append(dst, 0), len(dst)
}

// end fills in the length, now that it is known.
func end(dst []byte, at int) []byte {
	size := len(dst) - at - 1
	if more := protowire.SizeVarint(uint64(size)) - 1; more > 0 {
		dst = append(dst, make([]byte, more)...)
		copy(dst[at+1+more:], dst[at+1:at+1+size])
	}
	binary.PutUvarint(dst[at:], uint64(size))
	return dst
}
