package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// record is what was done.
type record struct {
	mu     sync.Mutex
	faults map[string]*tally
}

// tally is one kind of fault.
type tally struct {
	count        int
	longest      time.Duration // from the fault to its end
	recovery     time.Duration // from its end to the next row, the worst
	recoverySums time.Duration
}

func newRecord() *record { return &record{faults: map[string]*tally{}} }

func (r *record) add(name string, took, recovery time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.faults[name]
	if t == nil {
		t = &tally{}
		r.faults[name] = t
	}
	t.count++
	t.longest, t.recovery = max(t.longest, took), max(t.recovery, recovery)
	t.recoverySums += recovery
}

func (r *record) show(out io.Writer, v verdict) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tCOUNT\tLONGEST\tRECOVERY\tWORST")
	for _, name := range slices.Sorted(maps.Keys(r.faults)) {
		t := r.faults[name]
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", name, t.count, seconds(t.longest), seconds(t.recoverySums/time.Duration(t.count)), seconds(t.recovery))
	}
	w.Flush() //nolint:errcheck // a closed terminal
	fmt.Fprintln(w)
	fmt.Fprintln(w, "MESSAGES IN\tBY MQTT\tROWS OUT\tLOST\tDOUBLED\tDEAD\tDEVICES\tLOST\tEVENTS\tLOST\tDOUBLED\tLONGEST STALL")
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", v.messages, v.mqtt, v.rows, v.lost, v.doubled, v.dead, v.devices, v.devicesLost, v.events, v.eventsLost, v.eventsDoubled, seconds(v.stall))
	w.Flush() //nolint:errcheck // a closed terminal
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
