package runtime

import (
	"context"
	"time"

	"ponix/runtime/wire"
)

// deadline bounds a call by the time that its caller has left, or by the
// default where the caller named none. Nobody waits for a message: what its
// headers say of time does not count.
func deadline(standard time.Duration) Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, c *Call) ([]byte, error) {
			d := standard
			if v := c.Header.Get(wire.TimeoutHeader); v != "" && c.Message.Sequence == 0 {
				if left, err := time.ParseDuration(v); err == nil {
					d = left
				}
			}
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return next(ctx, c)
		}
	}
}
