package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// prepare leaves a data directory that a server can be started on.
func (s *postgresServer) prepare(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(s.data, "PG_VERSION"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.create(ctx)
	case err != nil:
		return err
	}
	if err := s.account.own(s.data); err != nil {
		return err
	}
	return s.clear(ctx)
}

// create runs initdb beside the final place, so that one that is killed leaves nothing half done.
func (s *postgresServer) create(ctx context.Context) error {
	began := time.Now()
	s.options.Report(Event{Part: Postgres, Message: "creating its data directory"})
	fresh := s.data + ".new"
	if err := removeUsed(ctx, fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	password := s.data + ".password"
	if err := os.WriteFile(password, []byte(s.options.Password+"\n"), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(password) }()
	for _, path := range []string{fresh, password} {
		if err := s.account.own(path); err != nil {
			return err
		}
	}
	args := []string{
		"-D", fresh, "-U", s.options.User, "--pwfile=" + password, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C",
	}
	if s.options.Ephemeral {
		args = append(args, "--no-sync")
	}
	p, err := s.launch("initdb", syscall.SIGKILL, args...)
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	s.options.Report(Event{Part: Postgres, Message: "created its data directory", Took: time.Since(began)})
	return os.Rename(fresh, s.data)
}

// removeUsed removes what an initdb has left whose own child may still write there, for the
// moment until it knows that it is alone.
func removeUsed(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := os.RemoveAll(dir)
		if !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clear ends a server that outlived a killed parent and removes the pid file that would stop the
// next. The caller holds the lock of the data directory, so no server here can be another
// cluster's.
func (s *postgresServer) clear(ctx context.Context) error {
	file := filepath.Join(s.data, "postmaster.pid")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return os.Remove(file)
	}
	deadline := time.Now().Add(10 * time.Second)
	for signal := syscall.SIGQUIT; runsIn(pid, s.data); {
		if time.Now().After(deadline) {
			signal = syscall.SIGKILL
		}
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the server that an earlier run left (process %d): %w", pid, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// account is the user that PostgreSQL runs as: it refuses to be root.
type account struct {
	other    bool // than that of this process
	uid, gid int
}

// own gives path and what is in it to the account, if it has another owner.
func (a account) own(path string) error {
	if !a.other { // see checkOwner
		return nil
	}
	info, err := os.Stat(path)
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) == a.uid {
		return err
	}
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, a.uid, a.gid)
	})
}
