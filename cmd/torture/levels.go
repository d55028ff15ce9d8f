package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// levels is what a process holds, and how many connections the instances have to
// an engine: what a leak makes grow.
type levels map[string]map[string]float64

// slack is how much of each may be left above what was there before the faults,
// beside a quarter of it, however much was sent meanwhile. Of streams there may be none more.
//
// A NATS node is held to what it cannot give back, the live MiB of its heap: those in
// RAM are twice as much and more, and go down over minutes when nothing needs the room.
// 34 000 envelopes within a minute, three times over with three idle minutes after each,
// left up to 30, 31 and 29 live MiB, and the same streams, consumers and subscriptions;
// in RAM there were up to 134 after the second and 146 after the third. What is live
// goes up by 40 under load: pooled buffers of blocks, and the ids of two minutes.
var slack = map[string]float64{"goroutines": 60, "files": 30, "MiB": 96, "live MiB": 32, "connections": 8, "consumers": 8}

// settleTime is longer than the ids of messages are remembered.
const settleTime = 150 * time.Second

// measure takes the levels of each kind of process, the highest of all of a kind.
func measure(ctx context.Context, w *world) (levels, error) {
	out := levels{}
	note := func(kind, what string, value float64) {
		if out[kind] == nil {
			out[kind] = map[string]float64{}
		}
		out[kind][what] = max(out[kind][what], value)
	}
	for _, i := range append(w.instances(), w.bridge) {
		kind, _, _ := strings.Cut(i.name, "-")
		n, err := goroutines(ctx, i.metrics)
		if err != nil {
			return nil, err
		}
		resident, err := residentMiB(i.pid())
		if err != nil {
			return nil, err
		}
		files, err := files(i.pid())
		if err != nil {
			return nil, err
		}
		note(kind, "goroutines", n)
		note(kind, "connections", float64(i.connections()))
		note(kind, "files", files)
		note(kind, "MiB", resident)
	}
	for _, n := range w.nodes {
		files, err := files(n.Pid())
		if err != nil {
			return nil, err
		}
		live, err := liveMiB(ctx, n.Profile)
		if err != nil {
			return nil, err
		}
		note("NATS node", "files", files)
		note("NATS node", "live MiB", live)
	}
	account, err := w.js.AccountInfo(ctx)
	if err != nil {
		return nil, err
	}
	note("JetStream", "streams", float64(account.Streams))
	note("JetStream", "consumers", float64(account.Consumers))
	note("ClickHouse", "connections", float64(w.click.proxy.connections()))
	backends, err := w.backends(ctx)
	note("PostgreSQL", "connections", backends)
	return out, err
}

// settled waits until the levels are near those of before, and otherwise says what
// is above.
func settled(ctx context.Context, w *world, before levels) ([]string, error) {
	var above []string
	for end := time.Now().Add(settleTime); time.Now().Before(end); {
		now, err := measure(ctx, w)
		if err == nil {
			if above = before.exceeded(now); len(above) == 0 {
				return nil, nil
			}
		}
		if err := wait(ctx, time.Second); err != nil {
			return above, err
		}
		if err != nil {
			above = []string{err.Error()}
		}
	}
	return above, nil
}

func (before levels) exceeded(now levels) (above []string) {
	for kind, values := range now {
		for what, value := range values {
			was := before[kind][what]
			room := 1.25*was + slack[what]
			if what == "streams" { // a quarter would be two of them
				room = was
			}
			if value > room {
				above = append(above, fmt.Sprintf("%s: %.0f %s, and %.0f before the faults", kind, value, what, was))
			}
		}
	}
	slices.Sort(above)
	return above
}

// goroutines asks a process's metrics.
func goroutines(ctx context.Context, addr string) (float64, error) {
	return askNumber(ctx, "http://"+addr+"/metrics", "go_goroutines ")
}

// liveMiB is what the heap of a node has that is in use. A pool gives its buffers back
// in the second collection.
func liveMiB(ctx context.Context, port int) (float64, error) {
	var bytes float64
	for range 2 {
		var err error
		if bytes, err = askNumber(ctx, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/heap?debug=1&gc=1", port), "# HeapAlloc = "); err != nil {
			return 0, err
		}
	}
	return bytes / (1 << 20), nil
}

// askNumber asks a process over HTTP, and returns the number that stands behind name.
func askNumber(ctx context.Context, url, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), name); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s does not tell %s", url, name)
}

// files is how many files and sockets a process has open.
func files(pid int) (float64, error) {
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(all)), err
}

// residentMiB is what a process has in memory of its own, without mapped files.
func residentMiB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "RssAnon:"); found {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d does not tell its memory", pid)
}

// backends is how many connections PostgreSQL has, but for the one that asks.
func (w *world) backends(ctx context.Context) (float64, error) {
	db, err := pgx.Connect(ctx, w.postgres.cluster.PostgresURL(""))
	if err != nil {
		return 0, err
	}
	defer db.Close(ctx) //nolint:errcheck // it was only read from
	var n float64
	err = db.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&n)
	return n, err
}
