package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is Linux's unit of CPU time in /proc, whatever the kernel's own is
// (proc(5), USER_HZ).
const tick = 10 * time.Millisecond

// usage is what was used up to a moment, or between two.
type usage struct {
	at    time.Time
	wall  time.Duration
	ours  time.Duration // CPU of this process and of all that it started
	all   time.Duration // CPU of the whole machine, but for what was idle
	held  time.Duration // for which our control group was not let run, because it may use so much and no more
	known bool          // false where there is no /proc
}

func (u usage) minus(from usage) usage {
	return usage{wall: u.at.Sub(from.at), ours: u.ours - from.ours, all: u.all - from.all, held: u.held - from.held, known: u.known && from.known}
}

func (u usage) plus(v usage) usage {
	return usage{wall: u.wall + v.wall, ours: u.ours + v.ours, all: u.all + v.all, held: u.held + v.held, known: u.known && v.known}
}

// throttled is the part of the time for which we were not let run.
func (u usage) throttled() float64 {
	if u.wall == 0 {
		return 0
	}
	return float64(u.held) / float64(u.wall)
}

// others is the part of the machine's CPU that others used.
func (u usage) others() float64 {
	if u.wall == 0 {
		return 0
	}
	return max(0, float64(u.all-u.ours)/(float64(u.wall)*float64(runtime.NumCPU())))
}

// readUsage takes the time first: to read the process table takes 50 ms where there are
// hundreds of processes, and what is done meanwhile counts. It reads again where a child
// has ended meanwhile, whose CPU may be in neither sum.
func readUsage() usage {
	for {
		ended := cpuOf(syscall.RUSAGE_CHILDREN)
		u := usage{at: time.Now(), ours: ended + cpuOf(syscall.RUSAGE_SELF), held: heldBack("/proc/self/cgroup", "/sys/fs/cgroup")}
		u.all, u.known = machineCPU()
		for _, d := range descendants(os.Getpid(), readProcesses()) {
			u.ours += d
		}
		if cpuOf(syscall.RUSAGE_CHILDREN) == ended {
			return u
		}
	}
}

// cpuOf is the CPU of this process, or of its children that have ended.
func cpuOf(who int) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(who, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// machineCPU is the time that all processors were busy, from /proc/stat.
func machineCPU() (time.Duration, bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal guest guest_nice
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, false
	}
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user and nice have the guests in them
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, false
		}
		sum += time.Duration(n) * tick
	}
	return sum, true
}

// heldBack is how long the control group of this process was throttled, as a container
// with a limit of CPU is; 0 where there is none. groups is /proc/self/cgroup, and root
// where the hierarchies are (cgroups(7)): version 2 itself, of version 1 one for each controller.
func heldBack(groups, root string) (sum time.Duration) {
	text, _ := os.ReadFile(groups) // without it there are no groups
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		for _, at := range []string{parts[2], "/"} { // a container sees its own group as the root
			stat, err := os.ReadFile(filepath.Join(root, parts[1], at, "cpu.stat"))
			if err == nil {
				sum += throttledIn(string(stat))
				break
			}
		}
	}
	return sum
}

func throttledIn(stat string) time.Duration {
	for line := range strings.Lines(stat) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		unit := map[string]time.Duration{"throttled_usec": time.Microsecond, "throttled_time": time.Nanosecond}[name]
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && unit > 0 {
			return time.Duration(n) * unit
		}
	}
	return 0
}

// process is a line of the process table.
type process struct {
	pid, parent int
	cpu         time.Duration // with that of its children that have ended
}

func readProcesses() (all []process) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if p, ok := parseStat(b); ok {
			all = append(all, p)
		}
	}
	return all
}

// parseStat reads /proc/<pid>/stat, whose second field is the program's name in
// parentheses and may hold anything (proc(5)).
func parseStat(b []byte) (process, bool) {
	open, closing := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || closing < open {
		return process{}, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:open])))
	fields := strings.Fields(string(b[closing+1:])) // from the third on
	if err != nil || len(fields) < 15 {
		return process{}, false
	}
	p := process{pid: pid}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return process{}, false
	}
	for _, f := range fields[11:15] { // utime stime cutime cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return process{}, false
		}
		p.cpu += time.Duration(n) * tick
	}
	return p, true
}

// descendants is the CPU of each process below root.
func descendants(root int, all []process) map[int]time.Duration {
	below := map[int]time.Duration{}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			_, known := below[p.pid]
			_, child := below[p.parent]
			if !known && (child || p.parent == root) {
				below[p.pid], grew = p.cpu, true
			}
		}
	}
	return below
}
