// Package heap says how much garbage a process that serves keeps. Little lives in one,
// so that by GOGC alone it would collect every few MB; a higher GOGC would multiply what
// many connections and full batches need, too.
package heap

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Instance is for a process that hosts functions. Idle it stays below 64 MiB in RAM.
// Under full load it is content with 176 MiB, of which half is alive, and collects more
// often above that, unless GOMEMLIMIT says otherwise. That bounds nothing that is alive.
func Instance() {
	keep(16 << 20)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(176 << 20)
	}
}

// Bridge is for a process that serves a bridge and little else.
func Bridge() { keep(32 << 20) }

// headroom is never written to, so that it takes no memory itself.
var headroom []byte

// keep lets garbage grow by about n bytes more before it is collected. Where some of the place
// was in use before, as at one start in fifty, Go has written zeros to all of it.
func keep(n int) {
	headroom = make([]byte, n)
	giveBack(headroom)
}

// giveBack takes zeros out of memory.
func giveBack(b []byte) {
	unix.Madvise(b, unix.MADV_DONTNEED) //nolint:errcheck // then they stay there, and no more
}
