package runtime

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"ponix/runtime/wire"
)

// TestBrief holds that a status fits into the headers that clients take, and says the
// first of what is wrong.
func TestBrief(t *testing.T) {
	many := func(n int, text string) error {
		var bad []*Violation
		for i := range n {
			bad = append(bad, &Violation{Field: fmt.Sprintf("envelopes[%d].device_id", i), Description: text, Reason: "STRING_ID"})
		}
		return Invalid(bad...)
	}
	for name, c := range map[string]struct {
		err   error
		said  string
		least int // of the violations
	}{
		"a few":             {many(3, "must be an id"), "envelopes[2].device_id: must be an id", 3},
		"thousands":         {many(10_000, "must be an id"), "(10000 fields are bad, and the first ", 30},
		"long ones":         {many(20, strings.Repeat("x", 10_000)), "(20 fields are bad, and the first ", 5},
		"one of Greek":      {many(1, strings.Repeat("α", 10_000)), "envelopes[0].device_id: αα", 1},
		"of control bytes":  {many(9, strings.Repeat("\x01", 10_000)), "(9 fields are bad, and the first ", 1},
		"a long name":       {InvalidField(strings.Repeat("f", 10_000), "is bad"), "fff", 1},
		"a message":         {Error(codes.InvalidArgument, "INVALID_ARGUMENT", "%s", strings.Repeat("%", 100_000)), "%%%", 0},
		"a message in time": {wire.Error(codes.InvalidArgument, "INVALID_ARGUMENT", "short"), "short", 0},
	} {
		t.Run(name, func(t *testing.T) {
			st := brief(publicStatus(c.err))
			if n := headerBytes(st); n > statusBytes {
				t.Errorf("it takes %d bytes", n)
			}
			if st.Code() != codes.InvalidArgument || reason(st.Err()) != "INVALID_ARGUMENT" || !strings.Contains(st.Message(), c.said) || !utf8.ValidString(st.Message()) {
				t.Errorf("got %v, %s, %q", st.Code(), reason(st.Err()), st.Message())
			}
			var got []*Violation
			for _, d := range st.Details() {
				if b, ok := d.(*errdetails.BadRequest); ok {
					got = b.FieldViolations
				}
			}
			if len(got) < c.least {
				t.Fatalf("got %d violations", len(got))
			}
			if c.least > 0 && (!strings.HasPrefix(got[0].Field, "envelopes[0]") && !strings.HasPrefix(got[0].Field, "fff") || got[0].Description == "") {
				t.Errorf("the first is %v", got[0])
			}
		})
	}
}
