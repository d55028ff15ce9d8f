package page

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	organizationv1 "ponix/proto/ponix/organization/v1"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for requested, want := range map[int32]int{-1: 100, 0: 100, 1: 1, 100: 100, 1000: 1000, 1001: 1000, 1<<31 - 1: 1000} {
		if got := Size(requested); got != want {
			t.Errorf("Size(%d) = %d, want %d", requested, got, want)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for _, k := range []Key{
		{time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), "d5k2"},
		{time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), ""},
		{time.Date(2299, 12, 31, 23, 59, 59, 999999000, time.UTC), strings.Repeat("x", 300)},
	} {
		token := Token("rpc\x00org", k)
		got, err := Parse("rpc\x00org", token)
		if err != nil || !got.Time.Equal(k.Time) || got.ID != k.ID {
			t.Errorf("%v became %v, %v", k, got, err)
		}
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("%q needs escaping in a URL", token)
		}
	}
	if got, err := Parse("rpc", ""); err != nil || !got.Time.IsZero() || got.ID != "" {
		t.Errorf("no token is %v, %v", got, err)
	}
}

func TestForeignTokens(t *testing.T) {
	t.Parallel()
	good := Token("rpc", Key{time.UnixMicro(1), "id"})
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"x", "!", good + "A", good + "=", good[1:], " " + good, good + "\n", good[:4] + "\r\n" + good[4:], Token("rpc2", Key{time.UnixMicro(1), "id"}), Token("", Key{time.UnixMicro(1), "id"}), "0"}
	for _, k := range []Key{{time.UnixMicro(math.MinInt64), "id"}, {time.UnixMicro(math.MaxInt64), "id"}, {time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC), "id"}, {time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "id"}, {time.UnixMicro(1), "\xff"}} {
		bad = append(bad, Token("rpc", k)) // forged
	}
	sealed := func(key string) string {
		return base64.RawURLEncoding.EncodeToString([]byte("\x01" + string(sum("rpc", []byte(key))) + key))
	}
	bad = append(bad, sealed(""), sealed("1234567"))
	for last := range strings.SplitSeq("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", "") {
		if same := good[:len(good)-1] + last; same != good { // most have the same bytes
			bad = append(bad, same)
		}
	}
	for i := range raw {
		for bit := range 8 {
			changed := []byte(string(raw))
			changed[i] ^= 1 << bit
			bad = append(bad, base64.RawURLEncoding.EncodeToString(changed))
		}
		bad = append(bad, base64.RawURLEncoding.EncodeToString(raw[:i+1])[:i/2+1])
	}
	for _, token := range bad {
		if _, err := Parse("rpc", token); status.Code(err) != codes.InvalidArgument {
			t.Errorf("Parse(%q) = %v", token, err)
		}
	}
}

// TestScope holds that where one filter ends is a part of the scope.
func TestScope(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, filters := range [][]string{{}, {""}, {"ab", "c"}, {"a", "bc"}, {"abc"}} {
		token := Token(Scope("rpc", filters...), Key{ID: "id"})
		if seen[token] {
			t.Errorf("%q have the token of others", filters)
		}
		seen[token] = true
	}
}

func FuzzParse(f *testing.F) {
	f.Add("rpc", Token("rpc", Key{time.UnixMicro(1), "id"}))
	f.Fuzz(func(t *testing.T, scope, token string) {
		k, err := Parse(scope, token)
		if err == nil && token != "" && Token(scope, k) != token {
			t.Errorf("%q is a second token of %v", token, k)
		}
	})
}

func TestCut(t *testing.T) {
	t.Parallel()
	list := func(n, size int) (all []*organizationv1.Organization) {
		for i := range n {
			all = append(all, &organizationv1.Organization{Id: string(rune('a' + i)), Name: strings.Repeat("x", size)})
		}
		return all
	}
	key := func(o *organizationv1.Organization) Key { return Key{ID: o.Id} }
	for name, test := range map[string]struct {
		items []*organizationv1.Organization
		size  int
		want  int
		more  string
	}{
		"none":            {nil, 2, 0, ""},
		"fewer":           {list(1, 1), 2, 1, ""},
		"as many":         {list(2, 1), 2, 2, ""},
		"more":            {list(3, 1), 2, 2, "b"},
		"large":           {list(4, 150<<10), 4, 2, "b"},
		"one that is too": {list(2, 1<<20), 4, 1, "a"},
		"the last alone":  {list(1, 1<<20), 4, 1, ""},
	} {
		got, token := Cut(test.items, test.size, "s", key)
		k, err := Parse("s", token)
		if len(got) != test.want || err != nil || k.ID != test.more {
			t.Errorf("%s: %d items and after %q, %v", name, len(got), k.ID, err)
		}
	}
}
