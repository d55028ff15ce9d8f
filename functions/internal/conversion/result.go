package conversion

import (
	"errors"
	"math"
	"slices"
	"strconv"

	"ponix/functions/internal/cayenne"
	"ponix/functions/internal/jsontext"
)

// Result is the object that a payload was converted to. The zero Result is none.
type Result struct {
	nodes   []node // depth first; the members of an object are sorted by key
	size    int    // of its JSON in bytes, about
	inexact bool
	in      *builder // that has the nodes
}

// Release lets another result take the room of this one, which must not be used any
// more, nor a copy of it. One that is not released is the garbage collector's.
func (r Result) Release() {
	if r.in != nil {
		r.in.release()
	}
}

// maxExact is the largest integer up to which a double holds every one.
const maxExact = 1 << 53

// node is a value; those inside a list or an object follow it.
type node struct {
	key   string
	text  string
	bits  uint64 // of a number or a boolean
	size  int    // of an object or a list
	kind  kind
	scale uint8 // of a decimal
}

type kind uint8

const (
	kindNull kind = iota
	kindBoolean
	kindInteger
	kindUnsigned
	kindDecimal // bits are its digits, an int64
	kindDouble
	kindText
	kindList
	kindObject
)

// Exact tells whether Struct holds the result as it is: whether there is no
// integer beyond 2^53 in it.
func (r Result) Exact() bool { return !r.inexact }

// AppendJSON appends the result as a JSON object without spaces, its keys sorted
// by bytes. Integers are exact. Doubles have the shortest form that reads back
// as the same double, and those beyond 2^53 an exponent, so that none is taken
// for an integer that must stay exact. It fails only for the zero Result.
func (r Result) AppendJSON(dst []byte) ([]byte, error) {
	if len(r.nodes) == 0 {
		return dst, errors.New("conversion: there is no result")
	}
	dst, _ = appendNode(slices.Grow(dst, r.size), r.nodes)
	return dst, nil
}

// appendNode appends the first node and what is in it, and returns the others.
func appendNode(dst []byte, ns []node) ([]byte, []node) {
	n, rest := &ns[0], ns[1:]
	switch n.kind {
	case kindList, kindObject:
		return appendMembers(dst, n, rest)
	case kindBoolean:
		dst = strconv.AppendBool(dst, n.bits != 0)
	case kindInteger:
		dst = strconv.AppendInt(dst, int64(n.bits), 10)
	case kindUnsigned:
		dst = strconv.AppendUint(dst, n.bits, 10)
	case kindDecimal:
		dst = cayenne.Number{Unscaled: int64(n.bits), Scale: n.scale}.AppendJSON(dst)
	case kindDouble:
		dst = appendDouble(dst, math.Float64frombits(n.bits))
	case kindText:
		dst = jsontext.AppendString(dst, n.text)
	case kindNull:
		dst = append(dst, "null"...)
	}
	return dst, rest
}

func appendMembers(dst []byte, n *node, rest []node) ([]byte, []node) {
	opener, closer := byte('['), byte(']')
	if n.kind == kindObject {
		opener, closer = '{', '}'
	}
	dst = append(dst, opener)
	for i := range n.size {
		if i > 0 {
			dst = append(dst, ',')
		}
		if n.kind == kindObject {
			dst = append(jsontext.AppendString(dst, rest[0].key), ':')
		}
		dst, rest = appendNode(dst, rest)
	}
	return append(dst, closer), rest
}

func appendDouble(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs > maxExact) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && n >= 4 && string(dst[n-4:n-1]) == "e-0" {
		dst = append(dst[:n-2], dst[n-1]) // e-07 is e-7, as in encoding/json
	}
	return dst
}
