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
