package convert

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime"
)

// TestHowLongADeviceMayBeUnknown holds that an envelope of an unknown device dies neither before it
// was tried often enough, nor within half a minute, also of that in which somebody could be asked
// again; and that it dies then.
func TestHowLongADeviceMayBeUnknown(t *testing.T) {
	t.Parallel()
	const moment = time.Second
	for name, tt := range map[string]struct {
		attempt      int
		age, trouble time.Duration // ago
		dies         bool
	}{
		"tried a few times":       {patience, time.Hour, time.Hour, false},
		"young":                   {patience + 1, halfMinute - moment, time.Hour, false},
		"old":                     {patience + 1, halfMinute + moment, time.Hour, true},
		"from the future":         {patience + 1, -time.Hour, time.Hour, true},
		"just after trouble":      {patience + 1, time.Hour, halfMinute - moment, false},
		"some time after trouble": {patience + 1, time.Hour, halfMinute + moment, true},
	} {
		d := &Devices{trouble: time.Now().Add(-tt.trouble)}
		err := d.fate(unknown("d"), runtime.Message{Attempt: tt.attempt, Stored: time.Now().Add(-tt.age)})
		if dies(err) != tt.dies {
			t.Errorf("%s: it dies: %v", name, !tt.dies)
		}
	}
}

// dies tells whether a message becomes a dead letter by err.
func dies(err error) bool { return reflect.TypeOf(err) == reflect.TypeOf(runtime.Terminate(nil)) }

// TestNothingDiesOfACall holds that an envelope waits where devices, or an organization, cannot be
// asked for, also since too many ask.
func TestNothingDiesOfACall(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Internal, codes.Unknown} {
		failure := status.Error(code, "trouble")
		for name, conn := range map[string]grpc.ClientConnInterface{
			"devices":      &noDevice{err: failure},
			"organization": &directory{asked: func(string) {}, organization: func() error { return failure }},
		} {
			d := NewDevices(conn, Cache{Size: 10, TTL: time.Minute})
			dev, err := d.resolve(t.Context(), "d", time.Time{})
			if err == nil || dies(d.fate(err, runtime.Message{Attempt: 100})) {
				t.Errorf("%s, %v: got %v, %v", name, code, dev, err)
			}
		}
	}
}
