// Package cayenne decodes Cayenne LPP, the Low Power Payload of myDevices
// (https://docs.mydevices.com/docs/lorawan/cayenne-lpp) with the types that the
// library ElectronicCats/CayenneLPP added: 27 in all.
//
// A payload is a sequence of a channel (1 byte), a type (1 byte) and a value
// whose size the type gives, big endian. A value has the key <name>_<channel>;
// of values with one key the last counts.
package cayenne

import (
	"fmt"
	"slices"
)

// Error says what is wrong with a payload, and where.
type Error struct {
	Offset int    // of the byte that is wrong, from 0; of a value cut short, that of its type
	Reason string // without the offset
}

func (e *Error) Error() string {
	return fmt.Sprintf("cayenne lpp: at byte %d: %s", e.Offset, e.Reason)
}

func errorAt(offset int, reason string, args ...any) *Error {
	return &Error{offset, fmt.Sprintf(reason, args...)}
}

// Reading is one value of a payload, not decoded yet.
type Reading struct {
	order order
	typ   uint8
	value []byte // of the size that the type asks for; its capacity is up to the payload's end
}

// Key is <name>_<channel>, such as temperature_1.
func (r Reading) Key() string { return table.keys[r.order] }

// Scan appends the readings of a payload to dst, sorted by key, each key once.
// They refer to the payload. An error is an *Error, and dst is then as it was.
func Scan(dst []Reading, payload []byte) ([]Reading, error) {
	start := len(dst)
	sorted := true
	for at := 0; at < len(payload); {
		r, err := scanOne(payload, at)
		if err != nil {
			return dst[:start], err
		}
		at += 2 + len(r.value)
		sorted = sorted && (len(dst) == start || dst[len(dst)-1].order < r.order)
		dst = append(dst, r)
	}
	if sorted {
		return dst, nil
	}
	return dst[:start+lastOfEach(dst[start:])], nil
}

func scanOne(payload []byte, at int) (Reading, error) {
	if len(payload)-at == 1 {
		return Reading{}, errorAt(at, "a single byte is left, a channel without a type")
	}
	channel, typ, rest := payload[at], payload[at+1], payload[at+2:]
	f := &formats[typ]
	size := f.size
	switch {
	case f.shape == unknown:
		return Reading{}, errorAt(at+1, "type %d is unknown", typ)
	case f.shape == polyline && len(rest) > 0:
		size = int(rest[0])
		if err := checkPolyline(rest, at+2); err != nil {
			return Reading{}, err
		}
	}
	if len(rest) < size {
		return Reading{}, errorAt(at+1, "%s is cut short: it takes %d bytes, %d are left", f.name, size, len(rest))
	}
	return Reading{
		order: order(table.types[typ] | uint16(table.channels[channel])),
		typ:   typ,
		value: rest[:size],
	}, nil
}

// lastOfEach sorts readings, keeps the last of each key and returns how many
// are left.
func lastOfEach(rs []Reading) int {
	slices.SortFunc(rs, func(a, b Reading) int {
		if a.order != b.order {
			return int(a.order) - int(b.order)
		}
		return cap(b.value) - cap(a.value) // in the payload's order
	})
	n := 0
	for i, r := range rs {
		if i+1 == len(rs) || rs[i+1].order != r.order {
			rs[n] = r
			n++
		}
	}
	return n
}
