package flock

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestReleaseWhileForking holds that a lock is free as soon as it is given up: a child has a copy
// of every file from its fork until it runs another program.
func TestReleaseWhileForking(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	forked, err := syscall.Dup(int(lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(forked) //nolint:errcheck // the test is over
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}
