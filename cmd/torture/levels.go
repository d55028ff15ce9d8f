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
// beside a quarter of it.
var slack = map[string]float64{"goroutines": 60, "files": 30, "MiB": 96, "connections": 8}

// measure takes the levels of each kind of process, the highest of all of a kind.
func measure(ctx context.Context, w *world) (levels, error) {
	out := levels{}
	note := func(kind, what string, value float64) {
		if out[kind] == nil {
			out[kind] = map[string]float64{}
		}
		out[kind][what] = max(out[kind][what], value)
	}
	pids := map[int]string{w.bridge.pid(): "bridge"}
	for _, i := range w.instances() {
		pids[i.pid()] = "instance"
		n, err := goroutines(ctx, i.metrics)
		if err != nil {
			return nil, err
		}
		note("instance", "goroutines", n)
		note("instance", "connections", float64(i.connections()))
	}
	for _, n := range w.nodes {
		pids[n.Pid()] = "NATS node"
	}
	for pid, kind := range pids {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return nil, err
		}
		resident, err := residentMiB(pid)
		if err != nil {
			return nil, err
		}
		note(kind, "files", float64(len(files)))
		note(kind, "MiB", resident)
	}
	note("ClickHouse", "connections", float64(w.click.proxy.connections()))
	backends, err := w.backends(ctx)
	note("PostgreSQL", "connections", backends)
	return out, err
}

// settled waits until the levels are near those of before, and otherwise says what
// is above.
func settled(ctx context.Context, w *world, before levels) ([]string, error) {
	var above []string
	for end := time.Now().Add(45 * time.Second); time.Now().Before(end); {
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
			if was := before[kind][what]; value > 1.25*was+slack[what] {
				above = append(above, fmt.Sprintf("%s: %.0f %s, and %.0f before the faults", kind, value, what, was))
			}
		}
	}
	slices.Sort(above)
	return above
}

// goroutines asks a process's metrics.
func goroutines(ctx context.Context, addr string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "go_goroutines "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s does not tell its goroutines", addr)
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
