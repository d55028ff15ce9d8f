package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ponix/runtime/runtimetest"
)

// TestNohup holds that the end of a terminal does not end what nohup started.
func TestNohup(t *testing.T) {
	signal.Ignore(syscall.SIGHUP) // which children inherit
	t.Cleanup(func() { signal.Reset(syscall.SIGHUP) })
	p := start(t, []string{"PONIX_NATS_URL=nats://127.0.0.1:1", "PONIX_GRPC_PORT=0"}, "bridge")
	p.waitFor(t, 10*time.Second, "waiting for NATS")
	if signals(t, p.Process.Pid, "SigIgn")&(1<<(syscall.SIGHUP-1)) == 0 {
		t.Error("SIGHUP is not ignored any more")
	}
}

// signals is a set of signals in /proc/<pid>/status.
func signals(t *testing.T, pid int, set string) uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), set+":\t")
	mask, err := strconv.ParseUint(strings.Fields(after)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

// TestDrainsUnread holds that an instance drains although nobody reads its log any more, as
// when Ctrl-C has ended the tee behind it.
func TestDrainsUnread(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), t, []string{"PONIX_NATS_URL=" + runtimetest.NATSServer(t).ClientURL()}, "serve", "organization")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 1)); err != nil { // it serves
		t.Fatal(err)
	}
	in.Close()  //nolint:errcheck // it is only to be gone
	out.Close() //nolint:errcheck // the child has its own
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestSendIsInterrupted holds that one Ctrl-C ends a command that waits for its input.
func TestSendIsInterrupted(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()  //nolint:errcheck // the test is over
	defer out.Close() //nolint:errcheck // likewise
	cmd := command(t.Context(), t, nil, "send", "--device", "d")
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // that it ends is what counts
		close(ended)
	}()
	if _, err := out.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if waiting, err := unix.IoctlGetInt(int(in.Fd()), unix.TIOCINQ); err != nil || waiting > 0 {
			return fmt.Errorf("%d bytes are not read yet: %w", waiting, err)
		}
		return nil
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
