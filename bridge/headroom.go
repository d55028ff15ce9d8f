package bridge

// headroom is never written to, so that it takes no memory itself.
var headroom []byte //nolint:unused // it is there to be there

// OwnProcess is for a process that serves a bridge and little else: garbage may grow by
// about 32 MiB more before it is collected. A bridge has little that lives, and would
// collect every 4 MB. A higher GOGC would multiply the memory of many connections, too;
// this adds to it.
func OwnProcess() { headroom = make([]byte, 32<<20) }
