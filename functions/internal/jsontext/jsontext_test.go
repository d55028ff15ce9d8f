package jsontext_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"ponix/functions/internal/jsontext"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"", "\\", "a\nb", "ü", "<&>", "\xff", "\u2028", "\x00"} {
		f.Add(s)
	}
	for b := range 256 {
		f.Add(string([]byte{byte(b)}))
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		text := jsontext.AppendString(nil, s)
		if err := json.Unmarshal(text, &back); err != nil || !utf8.Valid(text) {
			t.Fatalf("%q became %q: %v", s, text, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); len([]rune(s)) == len([]rune(want)) && back != want {
			t.Fatalf("%q became %q", s, back)
		}
	})
}
