package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that another process holds a lock.
var errLocked = errors.New("locked by another process")

// fileLock is an exclusive flock. The kernel drops it when its holder dies, and children do not
// inherit it.
type fileLock struct{ file *os.File }

func tryLock(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &fileLock{file}, nil
}

// waitLock tries until it has the lock or ctx ends; waiting is called once, if it has to wait.
func waitLock(ctx context.Context, path string, waiting func()) (*fileLock, error) {
	for first := true; ; first = false {
		lock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return lock, err
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *fileLock) release() error { return l.file.Close() }

// lockDataDir keeps a second cluster off the directory.
func lockDataDir(dir string) (*fileLock, error) {
	path := filepath.Join(dir, "lock")
	lock, err := tryLock(path)
	if errors.Is(err, errLocked) {
		holder := "another process"
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			holder = "process " + strings.TrimSpace(string(text))
		}
		return nil, fmt.Errorf("the data directory %s is in use by %s: stop it, or choose another with --data-dir", dir, holder)
	}
	if err != nil {
		return nil, err
	}
	if err := lock.file.Truncate(0); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	if _, err := lock.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return lock, nil
}
