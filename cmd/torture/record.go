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

// record is what was done, and when.
type record struct {
	mu     sync.Mutex
	faults map[string][]span
	absent map[string]error // faults that cannot be made on this machine, and why
}

// span is one fault, from its beginning to the first row after its end.
type span struct{ began, ended, recovered time.Time }

func newRecord() *record { return &record{faults: map[string][]span{}, absent: map[string]error{}} }

func (r *record) add(name string, s span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[name] = append(r.faults[name], s)
}

func (r *record) cannot(name string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.absent[name] = why
}

// during tells whether t is within one of spans.
func during(spans []span, t time.Time) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return !t.Before(s.began) && !t.After(s.recovered) })
}

// show prints a line for each kind of fault. What went in while it was at work, and what came of
// that, are the envelopes by NATS; two faults that overlap both count them.
func (r *record) show(out io.Writer, v verdict, l *load) {
	lost, doubled := map[key]bool{}, map[key]bool{}
	for _, k := range v.lost {
		lost[k] = true
	}
	for _, k := range v.doubled {
		doubled[k] = true
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tCOUNT\tMESSAGES IN\tROWS OUT\tLOST\tDOUBLED\tLONGEST STALL\tWORST RECOVERY")
	for _, name := range slices.Sorted(maps.Keys(r.faults)) {
		spans := r.faults[name]
		var in, gone, twice int
		for i, at := range l.acks {
			if k := (key{l.device, uint64(i)}); !at.IsZero() && during(spans, at) {
				in++
				gone += count(lost[k])
				twice += count(doubled[k])
			}
		}
		var recovery time.Duration
		for _, s := range spans {
			recovery = max(recovery, s.recovered.Sub(s.ended))
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", name, len(spans), in, in-gone+twice, gone, twice, seconds(l.longestStall(spans)), seconds(recovery))
	}
	for _, name := range slices.Sorted(maps.Keys(r.absent)) {
		fmt.Fprintf(w, "%s\tnot made here: %v\n", name, r.absent[name])
	}
	fmt.Fprintf(w, "all\t%d\t%d\t%d\t%d\t%d\t%s\t\n", r.count(), v.messages, v.rows, len(v.lost), len(v.doubled), seconds(l.longestStall(nil)))
	w.Flush() //nolint:errcheck // a closed terminal
	fmt.Fprintln(w)
	fmt.Fprintln(w, "BY MQTT\tDEAD\tDEVICES\tLOST\tEVENTS\tLOST\tDOUBLED\tREADS\tWRONG")
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", v.mqtt, v.dead, v.devices, v.devicesLost, v.events, v.eventsLost, v.eventsDoubled, v.reads, len(v.readWrong))
	w.Flush() //nolint:errcheck // a closed terminal
	for _, lines := range [][]string{v.where, v.readWrong, v.versions, v.leaks} {
		for _, line := range lines[:min(len(lines), 2*told)] {
			fmt.Fprintln(out, line)
		}
	}
}

func (r *record) count() (n int) {
	for _, spans := range r.faults {
		n += len(spans)
	}
	return n
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
