package runtime

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"ponix/nats/streams"
)

// logging writes one line a call: at debug level, or at error level where the
// fault is ours. Of those it writes one a second for each binding, with the
// number left out: an engine that is down must not fill the disk.
func logging(log *slog.Logger, limit *limitedLog, next handler) handler {
	return func(ctx context.Context, c *call) ([]byte, error) {
		out, err := next(ctx, c)
		level := levelOf(err, c.unheard)
		if !log.Enabled(ctx, level) {
			return out, err
		}
		var skipped int64
		if level > slog.LevelInfo {
			var ok bool
			if skipped, ok = limit.allow(time.Now()); !ok {
				return out, err
			}
		}
		attrs := []slog.Attr{
			slog.String("function", c.function), slog.String("source", c.source), slog.Duration("took", time.Since(c.began)),
			slog.String("trace_id", c.trace.TraceID().String()),
		}
		if err != nil {
			attrs = append(attrs, slog.Any("error", err), slog.Int("attempt", c.message.Attempt), slog.Int64("suppressed", skipped))
		}
		log.LogAttrs(ctx, level, "call", attrs...)
		return out, err
	}
}

// levelOf is Error for faults that an operator should see, Warn for engines
// that are away, Debug for everything that only concerns the caller, if there is one.
func levelOf(err error, unheard bool) slog.Level {
	if err == nil {
		return slog.LevelDebug
	}
	switch publicStatus(err).Code() {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		if streams.Unanswered(err) {
			return slog.LevelWarn
		}
		return slog.LevelError
	case codes.Unavailable, codes.ResourceExhausted:
		return slog.LevelWarn
	case codes.DeadlineExceeded: // what was waited for is silent
		if unheard {
			return slog.LevelWarn
		}
	}
	return slog.LevelDebug
}

// limitedLog writes one line a second, with the number left out.
type limitedLog struct{ last, suppressed atomic.Int64 }

// log writes a line, or counts it.
func (l *limitedLog) log(to *slog.Logger, level slog.Level, msg string, args ...any) {
	if n, ok := l.allow(time.Now()); ok {
		to.Log(context.Background(), level, msg, append(args, "suppressed", n)...)
	}
}

// allow tells whether it is time for another line, and how many were left out.
func (l *limitedLog) allow(now time.Time) (suppressed int64, ok bool) {
	then := l.last.Load()
	passed := now.UnixNano() - then // below 0 where the clock was set back
	if max(passed, -passed) < int64(time.Second) || !l.last.CompareAndSwap(then, now.UnixNano()) {
		l.suppressed.Add(1)
		return 0, false
	}
	return l.suppressed.Swap(0), true
}
