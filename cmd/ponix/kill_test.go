package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/runtimetest"
)

// TestKilledInstances kills one of two instances after the other with -9 in the
// middle of a burst: no row is lost, none is double.
func TestKilledInstances(t *testing.T) {
	t.Parallel()
	c := enginesOnly(t)
	serve := func() *ponix {
		p := start(t, c.env, "serve")
		p.waitFor(t, 20*time.Second, "msg=serving")
		return p
	}
	first, second := serve(), serve()
	org := c.organization(t)
	device := c.device(t, org, decode)
	const total = 30_000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range total / 1000 {
			batch := make([][]byte, 1000)
			for i := range batch {
				batch[i] = envelope(t, org, device, temperature)
			}
			c.publish(t, batch...)
		}
	}()
	c.settled(t, total/5)
	first.kill(t)
	third := serve()
	c.settled(t, total/2)
	second.kill(t)
	<-sent
	c.wantRows(t, time.Minute, total)
	third.interrupt(t)
	if dead := c.letters(t); len(dead) != 0 {
		t.Errorf("dead letters: %v", dead)
	}
}

// settled waits until the stream of processed envelopes has so many messages.
func (c *cluster) settled(t *testing.T, n uint64) {
	t.Helper()
	runtimetest.Eventually(t, 30*time.Second, func() error {
		s, err := c.js.Stream(t.Context(), "processed_envelopes")
		if err != nil {
			return err
		}
		if last := s.CachedInfo().State.LastSeq; last < n {
			return &jetstream.APIError{Description: strconv.FormatUint(last, 10) + " so far"}
		}
		return nil
	})
}

// kill is kill -9.
func (p *ponix) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// TestServeIsSmall holds an instance with every function to 64 MiB.
func TestServeIsSmall(t *testing.T) {
	t.Parallel()
	c := enginesOnly(t)
	p := start(t, c.env, "serve")
	p.waitFor(t, 20*time.Second, "msg=serving")
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil || kib > 64<<10*slow {
		t.Errorf("%d KiB, %v", kib, err)
	}
	t.Logf("%.1f MiB", float64(kib)/1024)
}
