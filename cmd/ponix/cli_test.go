package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestLogWithoutNATS holds that the log does not speak of a buffer where NATS is away.
func TestLogWithoutNATS(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		log, err := (&global{LogLevel: "info", LogFormat: format}).logger(&out)
		if err != nil {
			t.Fatal(err)
		}
		log.Warn("settle", "error", fmt.Errorf("bucket cdc: %w", nats.ErrReconnectBufExceeded), "error", nats.ErrTimeout)
		if got := out.String(); !strings.Contains(got, "bucket cdc: NATS is not connected") || strings.Contains(got, "buffer") || !strings.Contains(got, nats.ErrTimeout.Error()) {
			t.Errorf("the log has %s", got)
		}
	}
}
