package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// asPonix makes the test binary behave as ponix.
const asPonix = "PONIX_TEST_AS_PONIX"

func TestMain(m *testing.M) {
	if os.Getenv(asPonix) != "" {
		main()
	}
	runtimetest.Main(m)
}

// ponix is a running command.
type ponix struct {
	*exec.Cmd
	out, log *runtimetest.Text
	ended    chan struct{}
	err      error
}

// command prepares ponix, in an empty directory, with nothing configured but env.
func command(ctx context.Context, t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = t.TempDir()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PONIX_") || strings.HasPrefix(v, "PONIX_CACHE_DIR=") || strings.HasPrefix(v, "PONIX_POSTGRES_BIN=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, asPonix+"=1"), env...)
	return cmd
}

// start runs ponix until the test ends.
func start(t *testing.T, env []string, args ...string) *ponix {
	t.Helper()
	p := &ponix{Cmd: command(context.WithoutCancel(t.Context()), t, env, args...), out: &runtimetest.Text{}, log: &runtimetest.Text{}, ended: make(chan struct{})}
	p.Stdout, p.Stderr = p.out, p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		select {
		case <-p.ended:
		case <-time.After(20 * time.Second):
			p.Process.Kill() //nolint:errcheck // likewise
			t.Errorf("ponix %s did not end", args[0])
		}
		if t.Failed() {
			t.Logf("ponix %s:\n%s%s", strings.Join(args, " "), p.out, p.log)
		}
	})
	return p
}

// call runs a command of ponix to its end and returns what it prints.
func call(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := command(ctx, t, env, args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("exit code %d: %s", exit.ExitCode(), bytes.TrimSpace(exit.Stderr))
	}
	return string(out), err
}

// waitFor returns the groups of the first line of ponix's output or log that
// matches.
func (p *ponix) waitFor(t *testing.T, within time.Duration, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	var found []string
	runtimetest.Eventually(t, within, func() error {
		if found = re.FindStringSubmatch(p.out.String() + "\n" + p.log.String()); found != nil {
			return nil
		}
		select {
		case <-p.ended:
			t.Fatalf("ponix ended: %v\n%s%s", p.err, p.out, p.log)
		default:
		}
		return fmt.Errorf("nothing matches %q in\n%s%s", pattern, p.out, p.log)
	})
	return found
}

// must is call for a command that has to succeed.
func must(t *testing.T, env []string, args ...string) string {
	t.Helper()
	out, err := call(t, env, args...)
	if err != nil {
		t.Fatalf("ponix %s: %v", strings.Join(args, " "), err)
	}
	return out
}
