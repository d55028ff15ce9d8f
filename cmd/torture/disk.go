package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// disk is a small filesystem of its own below an engine's data. It is kept in
// memory: what it has of a disk is its end.
type disk struct {
	dir     string
	mounted bool
	err     error // why there is none
}

// roomy is the size of a disk that is not full, in bytes: JetStream wants room for
// all that its streams may hold. It takes only what is written.
const roomy = 64 << 30

// newDisk mounts one at dir. Where that is not allowed, the error is kept, and
// dir is part of what is below it.
func newDisk(dir string) *disk {
	d := &disk{dir: dir}
	if d.err = os.MkdirAll(dir, 0o755); d.err != nil {
		return d
	}
	if d.err = syscall.Mount("ponix-torture", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", roomy)); d.err != nil {
		d.err = fmt.Errorf("mount a small filesystem: %w", d.err)
	}
	d.mounted = d.err == nil
	return d
}

// resize sets what the disk holds at most, in bytes.
func (d *disk) resize(bytes uint64) error {
	return syscall.Mount("ponix-torture", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes))
}

// full leaves no page free for a while.
func (d *disk) full(ctx context.Context, r *rand.Rand) error {
	if err := d.shrink(ctx); err != nil {
		return err
	}
	err := wait(ctx, between(r, 2*time.Second, 8*time.Second))
	return errors.Join(err, d.resize(roomy))
}

// shrink takes what is free. What is written meanwhile makes it fail, and try again.
func (d *disk) shrink(ctx context.Context) error {
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &s); err != nil {
			return err
		}
		err := d.resize((s.Blocks - s.Bfree) * uint64(s.Bsize))
		if !errors.Is(err, syscall.EINVAL) {
			return err
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *disk) close() error {
	if !d.mounted {
		return nil
	}
	d.mounted = false
	return syscall.Unmount(d.dir, syscall.MNT_DETACH)
}
