package store

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
)

// read makes a row of a message. What is written as `convert` writes it is scanned;
// decode, which holds it to the rules of its .proto as well, reads all the rest.
//
// What somebody else has written may have no id. It gets one of what it says, so that two
// such envelopes of a moment are two rows, and one that comes again is one.
func read(data []byte, decode func([]byte) (*envelopev1.ProcessedEnvelope, error)) (row, error) {
	r, ok := scan(data)
	if !ok {
		var err error
		if r, err = readAny(data, decode); err != nil {
			return r, err
		}
	}
	if r.id == "" {
		sum := sha256.Sum256(data)
		r.id = hex.EncodeToString(sum[:16])
	}
	return r, nil
}

func readAny(data []byte, decode func([]byte) (*envelopev1.ProcessedEnvelope, error)) (row, error) {
	e, err := decode(data)
	if err != nil {
		return row{}, err
	}
	r, bad := newRow(e)
	if len(bad) > 0 {
		return r, runtime.Error(codes.InvalidArgument, bad[0].Reason, "%s: %s", bad[0].Field, bad[0].Description)
	}
	return r, nil
}

// scan reads an envelope that is valid and whose data is simple, and which has each
// field once. It is false for any other, whatever may be wrong with it. The row keeps
// a part of data.
func scan(data []byte) (r row, ok bool) {
	seen := 0
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 || kind != protowire.BytesType || number > 6 || seen&(1<<number) != 0 {
			return r, false
		}
		seen |= 1 << number
		content, n := field(data, number, kind)
		if n < 0 {
			return r, false
		}
		data = data[n:]
		switch number {
		case 1:
			r.device = string(content)
			ok = wire.IsID(r.device)
		case 2:
			r.occurred, ok = scanTime(content)
		case 3:
			r.object, ok = content, packed(content).simple()
		case 4:
			r.processed, ok = scanTime(content)
		case 5:
			r.organization = string(content)
			ok = wire.IsID(r.organization)
		case 6:
			r.id, ok = string(content), len(content) <= 255 && utf8.Valid(content)
		}
		if !ok {
			return r, false
		}
	}
	const all = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6
	return r, seen == all && storable(r.occurred) && storable(r.processed)
}

// scanTime reads a google.protobuf.Timestamp that has its seconds.
func scanTime(src []byte) (time.Time, bool) {
	var nanos uint64
	if len(src) == 0 || src[0] != 1<<3 {
		return time.Time{}, false
	}
	seconds, n := protowire.ConsumeVarint(src[1:])
	if n < 0 {
		return time.Time{}, false
	}
	if src = src[1+n:]; len(src) > 0 {
		if src[0] != 2<<3 {
			return time.Time{}, false
		}
		if nanos, n = protowire.ConsumeVarint(src[1:]); n != len(src)-1 || nanos > 999_999_999 {
			return time.Time{}, false
		}
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), true
}
