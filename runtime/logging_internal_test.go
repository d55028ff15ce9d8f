package runtime

import (
	"testing"
	"time"
)

// TestLimitedLogAndClocks lets one line a second pass, also after the clock was set back.
func TestLimitedLogAndClocks(t *testing.T) {
	t.Parallel()
	var l limitedLog
	now := time.Unix(1_000_000, 0)
	for _, at := range []struct {
		after time.Duration
		ok    bool
		left  int64
	}{{0, true, 0}, {500 * time.Millisecond, false, 0}, {time.Second, true, 1}, {-time.Hour, true, 0}, {-time.Hour + time.Millisecond, false, 0}, {time.Hour, true, 1}} {
		if left, ok := l.allow(now.Add(at.after)); ok != at.ok || left != at.left {
			t.Errorf("%v after the first: %v, %d left out; want %v, %d", at.after, ok, left, at.ok, at.left)
		}
	}
}
