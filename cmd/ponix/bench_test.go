package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ponix/cmd/ponix/bench"
)

// TestBenchStart measures processes of its own, once: every goal has a value.
func TestBenchStart(t *testing.T) {
	t.Parallel()
	out, err := call(t, nil, "bench", "start", "--format", "json", "--rounds", "1")
	if err != nil {
		t.Fatal(err)
	}
	measuredWhole(t, out)
}

// TestBenchRPC measures calls between processes, once: every goal has a value, and
// each process a profile.
func TestBenchRPC(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "rpc")
	out, err := call(t, nil, "bench", "rpc", "--format", "json", "--rounds", "1", "--duration", "300ms", "--profile", profile)
	if err != nil {
		t.Fatal(err)
	}
	measuredWhole(t, out)
	for _, of := range []string{"", ".answers", ".bridge", ".minimal-bridge"} {
		if f, err := os.Stat(profile + of); err != nil || f.Size() == 0 {
			t.Errorf("%v, %v", f, err)
		}
	}
}

// measuredWhole fails unless out is reports whose goals all have a value.
func measuredWhole(t *testing.T, out string) (n int) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(out)); ; n++ {
		var r bench.Report
		if err := d.Decode(&r); errors.Is(err, io.EOF) && n > 0 {
			return n
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		if len(r.Cases) < 2 || len(r.Goals) == 0 {
			t.Errorf("%s has %d cases and %d goals", r.Suite, len(r.Cases), len(r.Goals))
		}
		for _, g := range r.Goals {
			if g.Value <= 0 {
				t.Errorf("%s: %s is %v", r.Suite, g.What, g.Value)
			}
		}
	}
}

// TestBenchGrowth draws an axis, small. The others differ in what they measure, not
// in how they are drawn, and each starts engines of its own.
func TestBenchGrowth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := call(t, nil, "bench", "growth", "payload", "--payloads=4,300", "--count", "2000", "--rounds", "1", "--format", "json", "--out", dir)
	if err != nil {
		t.Fatal(err)
	}
	measuredWhole(t, out)
	picture, err := os.ReadFile(filepath.Join(dir, "growth-payload.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(picture)); err == nil; {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if n := strings.Count(string(picture), "<circle"); n != 6 { // two sizes in three panels
		t.Errorf("%d points are drawn", n)
	}
}

// TestBenchCheckFails holds the exit code of --check: nothing takes no time.
func TestBenchCheckFails(t *testing.T) {
	t.Parallel()
	if _, err := call(t, nil, "bench", "convert", "--only", "idiomatic", "--count", "100", "--rounds", "1", "--tries", "2", "--tolerance", "0.9", "--check"); err == nil || !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), "is 0.00, not 0.35") {
		t.Errorf("goals that were not measured: %v", err)
	}
	for _, bad := range [][]string{{"convert", "--rounds", "0"}, {"convert", "--tolerance", "1.1"}, {"growth", "moon"}, {"growth", "--devices=2,1"}, {"soak", "--for", "0s"}} {
		if _, err := call(t, nil, append([]string{"bench"}, bad...)...); err == nil || !strings.Contains(err.Error(), "exit code 2") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
