package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process of this very program.
type child struct {
	*exec.Cmd
	out   text
	ended chan struct{}
	err   error // once it has ended
}

// spawn starts this program with other arguments. It ends with ctx, if nobody
// closes it before.
func spawn(ctx context.Context, env []string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{Cmd: exec.CommandContext(ctx, self, args...), ended: make(chan struct{})}
	c.Env = append(slices.DeleteFunc(os.Environ(), configures), env...)
	c.Stdout, c.Stderr = &c.out, &c.out
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	if err := c.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.Wait()
		close(c.ended)
	}()
	return c, nil
}

// configures tells whether a variable is one that configures Ponix: what is measured has
// the defaults, and never finds the engines that somebody works with.
func configures(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	switch name {
	case "PONIX_CACHE_DIR", "PONIX_POSTGRES_BIN": // where programs are
		return false
	}
	return strings.HasPrefix(name, "PONIX_") && !strings.HasPrefix(name, "PONIX_TEST_")
}

// serve starts `ponix serve` on the world's engines, in a process of its own: with
// the named functions, or all.
func (w *World) serve(ctx context.Context, functions ...string) (*child, error) {
	host, port, err := net.SplitHostPort(w.postgresAddr())
	if err != nil {
		return nil, err
	}
	s := w.config.Streams
	return spawn(ctx, []string{
		"PONIX_LOG_LEVEL=info", "PONIX_LOG_FORMAT=text", "PONIX_NATS_URL=" + w.NATSURL,
		"PONIX_POSTGRES_HOST=" + host, "PONIX_POSTGRES_PORT=" + port, "PONIX_POSTGRES_SSLMODE=disable",
		"PONIX_CLICKHOUSE_NATIVE_URL=" + w.clickHouseAddr(),
		"PONIX_NATS_RAW_STREAM=" + s.Raw, "PONIX_PROCESSED_ENVELOPES_STREAM=" + s.Processed,
		"PONIX_NATS_STREAM_MAX_BYTES=" + strconv.FormatInt(s.MaxBytes, 10),
		"PONIX_NATS_BATCH_SIZE=" + strconv.Itoa(w.config.BatchSize),
	}, append([]string{"serve"}, functions...)...)
}

// nowhere is an address where no engine is: nobody asks for what was left out.
const nowhere = "127.0.0.1:1"

func (w *World) postgresAddr() string {
	if w.PostgresHost == "" {
		return nowhere
	}
	return net.JoinHostPort(w.PostgresHost, strconv.Itoa(w.PostgresPort))
}

func (w *World) clickHouseAddr() string {
	if w.ClickHouseAddr == "" {
		return nowhere
	}
	return w.ClickHouseAddr
}

// alive is an error once the process has ended, with what it said.
func (c *child) alive() error {
	select {
	case <-c.ended:
		return errors.Join(fmt.Errorf("ponix %s ended: %s", strings.Join(c.Args[1:], " "), c.out.tail()), c.err)
	default:
		return nil
	}
}

// says waits until the process has written a line with this in it.
func (c *child) says(ctx context.Context, what string) error {
	for !c.out.has(what) {
		if err := c.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ponix %s did not say %q: %w: %s", strings.Join(c.Args[1:], " "), what, ctx.Err(), c.out.tail())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// told waits for a line with this in it, and returns what follows it there.
func (c *child) told(ctx context.Context, what string) (string, error) {
	if err := c.says(ctx, what); err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(c.out.tail(), what)
	line, _, _ := strings.Cut(rest, "\n")
	return line, nil
}

// Close ends the process orderly.
func (c *child) Close() error {
	c.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	return c.wait()
}

// kill ends it at once: what it had in hand is of no interest.
func (c *child) kill() {
	c.Process.Kill() //nolint:errcheck // it may have ended
	<-c.ended
}

func (c *child) wait() error {
	select {
	case <-c.ended:
		return c.err
	case <-time.After(stalled):
		c.kill()
		return fmt.Errorf("ponix %s did not end within %v", strings.Join(c.Args[1:], " "), stalled)
	}
}

// rss is the memory that the process has in RAM now, and peak the most that it ever
// had, in MiB; from proc_pid_status(5).
func (c *child) rss() (float64, error)  { return c.status("VmRSS:") }
func (c *child) peak() (float64, error) { return c.status("VmHWM:") }

// cpu is what the process has used; 0 where it has ended, or there is no /proc.
func (c *child) cpu() time.Duration { return descendants(os.Getpid(), readProcesses())[c.Process.Pid] }

func (c *child) status(field string) (float64, error) {
	if err := c.alive(); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == field {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc does not tell %s", field)
}

// text is what a process has written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) has(s string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.b.Bytes(), []byte(s))
}

func (t *text) tail() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b.Bytes()[max(0, t.b.Len()-2000):]))
}
