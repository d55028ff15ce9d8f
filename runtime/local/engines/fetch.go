// Package engines brings PostgreSQL and ClickHouse's engine (libchdb) to this machine, as packages
// of the npm registry, into a cache that every checkout shares. It imports Go's standard library
// only, since it is the first of Ponix that is compiled.
package engines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ponix/runtime/local/internal/flock"
)

// CacheDir is where engines are kept when nothing else is said: $PONIX_CACHE_DIR, else
// /var/cache/ponix for root, else ponix in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("PONIX_CACHE_DIR"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/ponix", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory for engines, name one with PONIX_CACHE_DIR: %w", err)
	}
	return filepath.Join(dir, "ponix"), nil
}

// Fetch gets the engines into cacheDir, "" for CacheDir, if they are not there yet, and returns
// the directory of each. It needs npm. It reports what it does when that takes time. Processes
// that fetch at once wait for each other, and one that is killed leaves nothing half done.
func Fetch(ctx context.Context, cacheDir string, report func(message string), kinds ...Kind) (map[Kind]string, error) {
	if cacheDir == "" {
		var err error
		if cacheDir, err = CacheDir(); err != nil {
			return nil, err
		}
	}
	root := filepath.Join(cacheDir, "engines")
	at := map[Kind]string{}
	var all []pkg
	for _, kind := range kinds {
		p, err := packageOf(kind)
		if err != nil {
			return nil, err
		}
		all, at[kind] = append(all, p), filepath.Join(root, p.dir)
	}
	if len(missing(root, all)) == 0 {
		return at, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	lock, err := flock.Wait(ctx, filepath.Join(root, "lock"), func() { report("waiting for another process that fetches the engines") })
	if err != nil {
		return nil, err
	}
	if need := missing(root, all); len(need) > 0 { // still
		err = install(ctx, root, need, report)
	}
	return at, errors.Join(err, lock.Release())
}

func missing(root string, all []pkg) []pkg {
	var out []pkg
	for _, p := range all {
		if _, err := os.Stat(filepath.Join(root, p.dir)); err != nil {
			out = append(out, p)
		}
	}
	return out
}

// install has npm unpack the packages beside their final place, and then renames them to it.
// The caller holds the lock.
func install(ctx context.Context, root string, need []pkg, report func(string)) error {
	began, size, specs := time.Now(), 0, []string(nil)
	for _, p := range need {
		size += p.megabytes
		specs = append(specs, p.name+"@"+p.version)
	}
	report(fmt.Sprintf("fetching %s, about %d MB, once", strings.Join(specs, " and "), size))
	leftovers, err := fs.Glob(os.DirFS(root), "fetch-*") // the path may have a [
	if err != nil {
		return err
	}
	for _, dir := range leftovers { // of those that were killed
		_ = os.RemoveAll(filepath.Join(root, dir))
	}
	dir, err := os.MkdirTemp(root, "fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := npm(ctx, dir, specs); err != nil {
		return err
	}
	for _, p := range need {
		from := filepath.Join(dir, "node_modules", filepath.FromSlash(p.name))
		if _, err := os.Stat(filepath.Join(from, filepath.FromSlash(p.probe))); err != nil {
			return fmt.Errorf("npm package %s@%s is not what was expected: %w", p.name, p.version, err)
		}
		if err := errors.Join(link(from), os.Chmod(from, 0o755)); err != nil {
			return err
		}
		if err := os.Rename(from, filepath.Join(root, p.dir)); err != nil {
			return err
		}
	}
	report(fmt.Sprintf("engines fetched into %s in %.1f s", root, time.Since(began).Seconds()))
	return nil
}

// npm installs packages below dir. Their scripts do not run.
func npm(ctx context.Context, dir string, specs []string) error {
	program, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("cannot fetch %s: npm is not installed. Install Node.js with npm (it is needed only this once), "+
			"or name your own servers with --postgres-host and --clickhouse-native-url", strings.Join(specs, " and "))
	}
	args := []string{
		"install", "--prefix", dir, "--no-fund", "--no-audit", "--no-package-lock",
		"--no-update-notifier", "--ignore-scripts", "--loglevel=error",
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, specs...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // node and its children
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("npm install of %s: %w\n%s", strings.Join(specs, " and "), err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}
