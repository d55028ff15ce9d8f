package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// TestMetrics holds what functions and the bridge serve to who looks after them, with NATS
// and without.
func TestMetrics(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	urls := map[string]string{}
	for _, command := range [][]string{{"serve", "convert"}, {"bridge", "--grpc-port=0"}} {
		p := start(t, []string{"PONIX_NATS_URL=" + srv.ClientURL(), "PONIX_METRICS_ADDR=127.0.0.1:0"}, command...)
		urls[command[0]] = "http://" + p.waitFor(t, 20*time.Second, `msg="serving metrics" address=(\S+)`)[1]
	}
	want := func(command, path string, code int, text string) {
		t.Helper()
		runtimetest.Eventually(t, 20*time.Second, func() error {
			resp, err := http.Get(urls[command] + path) //nolint:noctx // the test's own
			if err != nil {
				return err
			}
			defer resp.Body.Close() //nolint:errcheck // it was read
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != code || !strings.Contains(string(body), text) {
				return fmt.Errorf("%s %s: %d, %s, %w", command, path, resp.StatusCode, body, err)
			}
			return nil
		})
	}
	want("serve", "/metrics", http.StatusOK, `ponix_consumer_pending{consumer="convert",stream="raw_envelopes"} 0`)
	want("bridge", "/metrics", http.StatusOK, "go_goroutines")
	for command := range urls {
		want(command, "/healthz", http.StatusOK, "ok\n")
	}
	srv.Shutdown()
	for command := range urls {
		want(command, "/healthz", http.StatusServiceUnavailable, "NATS is reconnecting\n")
	}
}

// TestHealthBeforeNATS holds that who looks after processes is told of one that waits for NATS.
func TestHealthBeforeNATS(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"serve", "convert"}, {"bridge", "--grpc-port=0"}} {
		p := start(t, []string{"PONIX_NATS_URL=nats://127.0.0.1:1", "PONIX_METRICS_ADDR=127.0.0.1:0"}, command...)
		url := "http://" + p.waitFor(t, 20*time.Second, `msg="serving metrics" address=(\S+)`)[1]
		for _, path := range []string{"/healthz", "/metrics"} {
			resp, err := http.Get(url + path) //nolint:noctx // the test's own
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close() //nolint:errcheck // of a test
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s %s: %d", command[0], path, resp.StatusCode)
			}
		}
	}
}
