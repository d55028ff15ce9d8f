package local_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

// TestInterruptedInitdb ends a first start while PostgreSQL's data is being made: nothing
// is left running, and the next start makes it anew.
func TestInterruptedInitdb(t *testing.T) {
	t.Parallel()
	o := local.Options{DataDir: t.TempDir(), SkipNATS: true, SkipClickHouse: true, Ephemeral: true, Logger: slog.New(slog.DiscardHandler)}
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		began := filepath.Join(o.DataDir, "postgres.new", "base", "1", "*")
		go func() {
			defer cancel()
			runtimetest.Eventually(t, 20*time.Second, func() error {
				if files, err := filepath.Glob(began); err != nil || len(files) < 10 {
					return errors.New("initdb has not begun")
				}
				return nil
			})
		}()
		if c, err := local.Start(ctx, o); err == nil {
			t.Fatal(errors.Join(errors.New("it was not interrupted"), c.Stop(t.Context())))
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for _, process := range within(o.DataDir) {
			t.Errorf("%s is left running", process)
		}
	}
	c, err := local.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// within returns the processes that have not been killed and work below a directory.
func within(dir string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range all {
		at, err := os.Readlink(filepath.Join(process, "cwd"))
		name, _ := os.ReadFile(filepath.Join(process, "cmdline")) // empty of one that is dying
		if err == nil && strings.HasPrefix(at, dir) && len(name) > 0 {
			found = append(found, process+" "+strings.ReplaceAll(string(name), "\x00", " "))
		}
	}
	return found
}
