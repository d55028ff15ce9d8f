package cayenne

import (
	"encoding/hex"
	"strings"
	"time"
)

// Visitor is told what a payload holds. Keys inside a list are empty.
type Visitor interface {
	Number(key string, n Number)
	Bool(key string, b bool)
	String(key, s string)
	// Object begins an object of size members, List a list of size items; End
	// ends either.
	Object(key string, size int)
	List(key string, size int)
	End()
}

// Visit reports the value of a reading under its key.
func (r Reading) Visit(v Visitor) {
	key, b, f := r.Key(), r.value, &formats[r.typ]
	switch f.shape {
	case number:
		v.Number(key, f.number(b))
	case axes:
		v.Object(key, 3)
		v.Number("x", Number{signed(b[:2]), f.scale})
		v.Number("y", Number{signed(b[2:4]), f.scale})
		v.Number("z", Number{signed(b[4:]), f.scale})
		v.End()
	case position:
		v.Object(key, 3)
		v.Number("altitude", Number{signed(b[6:]), 2})
		v.Number("latitude", Number{signed(b[:3]), 4})
		v.Number("longitude", Number{signed(b[3:6]), 4})
		v.End()
	case boolean:
		v.Bool(key, b[0] != 0)
	case moment:
		v.String(key, time.Unix(int64(unsigned(b)), 0).UTC().Format(time.RFC3339))
	case colour:
		v.String(key, "#"+strings.ToUpper(hex.EncodeToString(b)))
	case polyline:
		visitPolyline(key, b, v)
	}
}

func (f *format) number(b []byte) Number {
	n := Number{int64(unsigned(b)), f.scale}
	if f.signed {
		n.Unscaled = signed(b)
	}
	if f.factor != 0 {
		n.Unscaled *= f.factor
	}
	return n
}

// unsigned reads a big-endian number.
func unsigned(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// signed reads a big-endian number in two's complement.
func signed(b []byte) int64 {
	shift := 64 - 8*len(b)
	return int64(unsigned(b)<<shift) >> shift
}

// Number is the value of a reading that is one number; ok is false for others.
func (r Reading) Number() (n Number, ok bool) {
	f := &formats[r.typ]
	if f.shape != number {
		return Number{}, false
	}
	return f.number(r.value), true
}
