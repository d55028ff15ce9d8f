package chdb

import (
	"errors"
	"testing"
)

func TestParseError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int32{
		"Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)": 60,
		"Insert failed: Code: 117. DB::Exception: Duplicate path": 117,
		"out of luck":           unknownException,
		"Code: 99999999999. no": unknownException,
	} {
		var e *Error
		if err := parseError(text); !errors.As(err, &e) || e.Code != want || e.Error() != text {
			t.Errorf("%q: got %+v, want code %d", text, e, want)
		}
	}
}
