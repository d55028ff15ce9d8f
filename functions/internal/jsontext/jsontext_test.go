package jsontext_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ponix/functions/internal/jsontext"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"", "\\", "a\nb", "ü", "<&>", "\xff", "\u2028", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(jsontext.AppendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); len([]rune(s)) == len([]rune(want)) && back != want {
			t.Fatalf("%q became %q", s, back)
		}
	})
}
