package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ponix/runtime/local/internal/flock"
)

// lockDataDir keeps a second cluster off the directory.
func lockDataDir(dir string) (*flock.Lock, error) {
	path := filepath.Join(dir, "lock")
	lock, err := flock.Try(path)
	if errors.Is(err, flock.ErrLocked) {
		holder := "another process"
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			holder = "process " + strings.TrimSpace(string(text))
		}
		return nil, fmt.Errorf("the data directory %s is in use by %s: stop it, or choose another with --data-dir", dir, holder)
	}
	if err != nil {
		return nil, err
	}
	if err := lock.Truncate(0); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return lock, nil
}
