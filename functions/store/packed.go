package store

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// packed is a google.protobuf.Struct as protobuf writes it. Most are simple: then
// ClickHouse gets the values that are in it, by their paths, and nothing is built
// in between.
type packed []byte

// maxDepth is how many objects may be within another.
const maxDepth = 32

// pack returns s as bytes, with its keys in order.
func pack(s *structpb.Struct) (packed, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(s)
}

// text appends p as JSON, however it is made.
func (p packed) text(dst []byte) ([]byte, error) {
	var s structpb.Struct
	if err := proto.Unmarshal(p, &s); err != nil {
		return dst, err
	}
	return appendStruct(dst, &s)
}

// simple tells whether p is nothing but numbers, strings, booleans and objects of
// them, each at a path of its own: keys are in order, so that none is there twice,
// and without the point that separates them in a path.
func (p packed) simple() bool { return p.each(nil, 0, nil) }

// each calls f, unless it is nil, with every value and its path, which is only lent.
// It is false, and may have called f before, where p is not simple.
func (p packed) each(path []byte, depth int, f func(path []byte, v any)) bool {
	var last []byte
	for len(p) > 0 && depth < maxDepth {
		entry, n := field(p, 1, protowire.BytesType) // Struct.fields
		key, k := field(entry, 1, protowire.BytesType)
		if n < 0 || k < 0 {
			return false
		}
		value, v := field(entry[k:], 2, protowire.BytesType)
		if v < 0 || k+v != len(entry) || bytes.Compare(key, last) <= 0 || bytes.IndexByte(key, '.') >= 0 || !utf8.Valid(key) {
			return false
		}
		last, p = key, p[n:]
		if !packed(value).value(append(path, key...), depth, f) {
			return false
		}
	}
	return len(p) == 0
}

// value is each for a google.protobuf.Value.
func (p packed) value(path []byte, depth int, f func(path []byte, v any)) bool {
	number, kind, n := protowire.ConsumeTag(p)
	if n < 0 {
		return false
	}
	x, n := field(p, number, kind)
	if n != len(p) {
		return false
	}
	var leaf any
	switch {
	case number == 1 && kind == protowire.VarintType: // null
		return true
	case number == 2 && kind == protowire.Fixed64Type:
		d := math.Float64frombits(binary.LittleEndian.Uint64(x))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return false
		}
		if f != nil {
			leaf = d
		}
	case number == 3 && kind == protowire.BytesType && utf8.Valid(x):
		if f != nil {
			leaf = string(x)
		}
	case number == 4 && kind == protowire.VarintType && len(x) == 1:
		leaf = x[0] != 0
	case number == 5 && kind == protowire.BytesType:
		return packed(x).each(append(path, '.'), depth+1, f)
	default:
		return false
	}
	if f != nil {
		f(path, leaf)
	}
	return true
}

// field reads the field of that number and type at the start of src. n is the length
// of all of it, negative where it is another.
func field(src []byte, number protowire.Number, kind protowire.Type) (content []byte, n int) {
	if number < 16 && len(src) > 1 && src[0] == byte(number<<3)|byte(kind) { // a byte of tag, as most have
		switch {
		case kind == protowire.BytesType && int(src[1]) < min(len(src)-1, 0x80):
			n = 2 + int(src[1])
			return src[2:n], n
		case kind == protowire.Fixed64Type && len(src) > 8:
			return src[1:9], 9
		}
	}
	got, gotKind, tag := protowire.ConsumeTag(src)
	if tag < 0 || got != number || gotKind != kind {
		return nil, -1
	}
	n = protowire.ConsumeFieldValue(number, kind, src[tag:])
	if n < 0 {
		return nil, -1
	}
	content = src[tag : tag+n]
	if kind == protowire.BytesType {
		content, _ = protowire.ConsumeBytes(content)
	}
	return content, tag + n
}
