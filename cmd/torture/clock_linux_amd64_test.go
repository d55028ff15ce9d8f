package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestSetClock holds that the clock of one process is set, forth and back, while
// its monotonic clock and the clock of the others stay.
func TestSetClock(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), clockVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close() //nolint:errcheck // its end is what ends the process
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	began, answers := time.Now(), bufio.NewReader(out)
	for _, by := range []time.Duration{0, time.Hour, -26 * time.Hour, 0} {
		if _, err := fmt.Fprintln(in); err != nil { // it has read its clock before
			t.Fatal(err)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if err := setClock(cmd.Process.Pid, by); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		var wall, passed int64
		if _, err := fmt.Fscanln(answers, &wall, &passed); err != nil {
			t.Fatal(err)
		}
		if off := time.UnixMilli(wall).Sub(time.Now().Add(by)).Abs(); off > 5*time.Second {
			t.Errorf("set by %s: off by %s", by, off)
		}
		if passed := time.Duration(passed) * time.Millisecond; passed > time.Since(began)+time.Second {
			t.Errorf("set by %s: the monotonic clock has moved by %s", by, passed)
		}
	}
}
