package runtime

import (
	"context"
	"fmt"
	"runtime/debug"
)

// panicError is a handler's panic. Callers see an opaque INTERNAL; the log has
// the stack.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// recovery turns a handler's panic into an error.
func recovery(next handler) handler {
	return func(ctx context.Context, c *call) (out []byte, err error) {
		defer func() {
			if v := recover(); v != nil {
				out, err = nil, &panicError{v, debug.Stack()}
			}
		}()
		return next(ctx, c)
	}
}
