// Package page cuts lists into pages.
//
// A page starts after the key of the last item of the page before, so that rows
// that are inserted meanwhile neither repeat nor hide others. Clients carry that
// key in an opaque token, which is good for one rpc with the same filters.
package page

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"ponix/runtime"
)

const (
	defaultSize = 100
	maxSize     = 1000
	// MaxBytes is what the items of a page have at most, encoded, unless one item
	// alone has more. NATS takes 1 MiB by default, and JSON is larger.
	MaxBytes = 400 << 10
)

// Key is the place of an item in a list, newest first: a time in microseconds
// and, where it is that of many, an id. The zero Key is before the first item.
type Key struct {
	Time time.Time
	ID   string
}

// Size is how many items a request for requested is given: 0 means 100, more
// than 1000 is taken as 1000. Rules in the .proto refuse negative ones.
func Size(requested int32) int {
	switch {
	case requested <= 0:
		return defaultSize
	case requested > maxSize:
		return maxSize
	}
	return int(requested)
}

// A token is, in base64url without padding: the version, a checksum over the
// scope and what follows, the time in microseconds since 1970 (big endian), and
// the id. The checksum is no secret: it finds mistakes, and nothing can be gained
// by forging it; what no list has, an engine may not take.
const (
	version    = 1
	sumLength  = 8
	keyStart   = 1 + sumLength
	timeLength = 8

	firstYear, lastYear = 1, 9999 // of times that messages have
)

// Token returns the token of the page after k.
func Token(scope string, k Key) string {
	b := make([]byte, keyStart, keyStart+timeLength+len(k.ID))
	b[0] = version
	b = binary.BigEndian.AppendUint64(b, uint64(k.Time.UnixMicro()))
	b = append(b, k.ID...)
	copy(b[1:], sum(scope, b[keyStart:]))
	return base64.RawURLEncoding.EncodeToString(b)
}

// Scope is what a token is good for: an rpc with its filters.
func Scope(rpc string, filters ...string) string {
	return strings.Join(append([]string{rpc}, filters...), "\x00")
}

// Check is what is wrong with a token, for the checks of an endpoint.
func Check(scope, token string) []*runtime.Violation {
	if _, err := Parse(scope, token); err != nil {
		return []*runtime.Violation{badToken}
	}
	return nil
}

// CheckOwned is [Check] for an rpc that lists what an organization has.
func CheckOwned[R interface {
	GetOrganizationId() string
	GetPageToken() string
}](rpc string) func(R) []*runtime.Violation {
	return func(req R) []*runtime.Violation {
		return Check(Scope(rpc, req.GetOrganizationId()), req.GetPageToken())
	}
}

var badToken = &runtime.Violation{Field: "page_token", Description: "is not a next_page_token of this rpc with these filters"}

// Parse returns the key in a token that Token made for the same scope, and the
// zero Key for an empty one. Every other token is INVALID_ARGUMENT.
func Parse(scope, token string) (Key, error) {
	if token == "" {
		return Key{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < keyStart+timeLength {
		return Key{}, BadToken()
	}
	k := Key{time.UnixMicro(int64(binary.BigEndian.Uint64(b[keyStart:]))).UTC(), string(b[keyStart+timeLength:])}
	if year := k.Time.Year(); year < firstYear || year > lastYear || !utf8.ValidString(k.ID) {
		return Key{}, BadToken()
	}
	if Token(scope, k) != token { // not the version, the sum or the spelling, which base64 lets line ends be in
		return Key{}, BadToken()
	}
	return k, nil
}

// BadToken is the error of a token that was not issued for a list.
func BadToken() error { return runtime.Invalid(badToken) }

func sum(scope string, key []byte) []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(scope))))
	h.Write([]byte(scope))
	h.Write(key)
	return h.Sum(nil)[:sumLength]
}

// Cut makes a page of items, which are one more than fit where there are more:
// at most size, fewer where they are so large that a reply could not carry them.
// The token is that of the page after, empty if there is none.
func Cut[M proto.Message](items []M, size int, scope string, key func(M) Key) (page []M, token string) {
	bytes := 0
	for i, item := range items {
		bytes += proto.Size(item)
		if i == size || (i > 0 && bytes > MaxBytes) {
			return items[:i], Token(scope, key(items[i-1]))
		}
	}
	return items, ""
}
