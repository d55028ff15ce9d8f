package main

import (
	"testing"
	"time"

	"ponix/runtime/config"
)

// TestSQLHasNoDeadline holds that a statement may run for longer than the minute after which
// the others are over.
func TestSQLHasNoDeadline(t *testing.T) {
	t.Parallel()
	o, err := (&sqlCommand{ClickHouse: config.ClickHouse{NativeURL: "localhost:9000"}}).options()
	if err != nil || o.ReadTimeout < 24*time.Hour {
		t.Errorf("it ends after %v, %v", o.ReadTimeout, err)
	}
}
