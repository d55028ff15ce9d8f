package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ponix/runtime/local"
)

// TestStopOfAStart holds that nothing is written any more when a start that was given up
// has returned: whoever made the directory can take it away.
func TestStopOfAStart(t *testing.T) {
	t.Parallel()
	for i := range 40 {
		dir := filepath.Join(t.TempDir(), "data")
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		c, err := local.Start(ctx, local.Options{DataDir: dir, SkipPostgres: true, SkipClickHouse: true})
		cancel()
		if err == nil {
			err = c.Stop(t.Context())
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}
