package token

import (
	"log/slog"
	"sync"
	"time"
)

// lookAgain is the time between two looks at what may have changed.
const lookAgain = time.Second

// follow returns a value as it was a second ago at most. Where it cannot be read, the log
// has the warning, and it is as it was when it could.
func follow[T any](value T, read func() (T, error), log *slog.Logger, warning string) func() T {
	var mu sync.Mutex
	looked := time.Now()
	return func() T {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(looked) < lookAgain {
			return value
		}
		now, err := read()
		looked = time.Now()
		if err != nil {
			log.Warn(warning, "error", err)
			return value
		}
		value = now
		return value
	}
}
