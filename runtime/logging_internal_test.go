package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/codes"
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

// TestLevels holds which errors are for the operator.
func TestLevels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want slog.Level
	}{
		{nil, slog.LevelDebug},
		{Error(codes.NotFound, "X", "x"), slog.LevelDebug},
		{context.DeadlineExceeded, slog.LevelDebug},
		{Error(codes.Unavailable, "X", "x"), slog.LevelWarn},
		{fmt.Errorf("publish: %w", nats.ErrReconnectBufExceeded), slog.LevelWarn},
		{nats.ErrTimeout, slog.LevelWarn},
		{errors.New("a bug"), slog.LevelError},
	} {
		if got := levelOf(tt.err, false); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}
