package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSendEmpty holds that an empty payload is one: nobody waits for another on standard
// input.
func TestSendEmpty(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--hex=", "--base64="} {
		input, open, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer input.Close() //nolint:errcheck // the test is over
		defer open.Close()  //nolint:errcheck // the test is over
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := command(ctx, t, []string{"PONIX_NATS_URL=nats://127.0.0.1:1"}, "send", "--device", "d", flag)
		var log bytes.Buffer
		cmd.Stdin, cmd.Stderr = input, &log
		if err := cmd.Run(); err == nil || !strings.Contains(log.String(), "ponix: NATS at nats://127.0.0.1:1") {
			t.Errorf("%s: %v, %s", flag, err, &log)
		}
	}
}
