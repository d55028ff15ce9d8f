// Package heap says how much garbage a process that serves keeps. Little lives in one,
// so that by GOGC alone it would collect every few MB; a higher GOGC would multiply what
// many connections and full batches need, too.
package heap

import (
	"os"
	"runtime/debug"
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
var headroom []byte //nolint:unused // it is there to be there

// keep lets garbage grow by about n bytes more before it is collected.
func keep(n int) { headroom = make([]byte, n) }
