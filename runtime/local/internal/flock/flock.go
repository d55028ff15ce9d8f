// Package flock holds exclusive locks on files with flock(2). The kernel drops a lock when its
// holder dies, and children do not inherit it.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrLocked says that another process holds a lock.
var ErrLocked = errors.New("locked by another process")

// Lock is a lock that is held. What is in its file is the holder's business.
type Lock struct{ *os.File }

// Try takes the lock of the file at path, which it creates, or fails with ErrLocked.
func Try(path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file}, nil
}

// Wait tries until it has the lock or ctx ends; waiting is called once, if it has to wait.
func Wait(ctx context.Context, path string, waiting func()) (*Lock, error) {
	for first := true; ; first = false {
		lock, err := Try(path)
		if !errors.Is(err, ErrLocked) {
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

// Release gives the lock up. To close the file would not do: a child that is being started
// has a copy of it for a moment, and with it the lock.
func (l *Lock) Release() error {
	return errors.Join(syscall.Flock(int(l.Fd()), syscall.LOCK_UN), l.Close())
}
