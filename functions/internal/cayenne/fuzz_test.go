package cayenne

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for i, v := range vectors(f) {
		if i%8 == 0 {
			f.Add(unhex(f, v.Payload))
		}
	}
	for _, payload := range []string{"", "01", "01ff", "0167", "01f0", "01f007", "01f00800000000000000", "01f008e4000000ffffff", "0100010100020100", "ff8eff008e0001850000000001870aff00"} {
		f.Add(unhex(f, payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		rs, err := Scan(nil, payload)
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset >= len(payload) || bad.Reason == "" {
				t.Fatalf("%x: %#v", payload, err)
			}
			return
		}
		if !slices.IsSortedFunc(rs, func(a, b Reading) int { return int(a.order) - int(b.order) }) {
			t.Errorf("%x: readings are not sorted", payload)
		}
		text := appendJSON(nil, rs)
		if !json.Valid(text) {
			t.Fatalf("%x: %s is not JSON", payload, text)
		}
		values, err := json.Marshal(Map(rs))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, values) && !reflect.DeepEqual(plain(t, text), plain(t, values)) {
			t.Errorf("%x is\n%s, as a map\n%s", payload, text, values)
		}
		again := append(slices.Clone(payload), payload...)
		if twice, err := Scan(nil, again); err != nil || !bytes.Equal(appendJSON(nil, twice), text) {
			t.Errorf("%x twice is %s, %v", payload, appendJSON(nil, twice), err)
		}
	})
}
