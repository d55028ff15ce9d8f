package heap

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestGiveBack holds that what is kept free takes no memory, also where Go has written to it.
func TestGiveBack(t *testing.T) {
	const size = 64 << 20
	b := make([]byte, size)
	for i := range b {
		b[i] = 1
	}
	before := anonymous(t)
	giveBack(b)
	if after := anonymous(t); after > before-size/2 {
		t.Errorf("%d bytes are in memory, after %d", after, before)
	}
	runtime.KeepAlive(b)
	keep(size)
	if len(headroom) != size {
		t.Errorf("%d bytes are kept free, want %d", len(headroom), size)
	}
}

// anonymous is how many bytes of the process, beside those of files, are in memory.
func anonymous(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "RssAnon:")
	line, _, _ := strings.Cut(rest, "kB")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
