package local_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/sys/unix"

	"ponix/runtime/local"
)

// TestFailedWrites lets writes of ClickHouse's engine fail between inserts: it acknowledges
// none that is not there, says what happened and ends. When it is started again, it has every
// acknowledged row, and takes the one that failed, with the token that it had.
func TestFailedWrites(t *testing.T) {
	t.Parallel()
	o := local.Options{DataDir: t.TempDir(), SkipNATS: true, SkipPostgres: true}
	c, conn := startClickHouse(t, o)
	if err := conn.Exec(t.Context(), "CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100"); err != nil {
		t.Fatal(err)
	}
	insert := func(n uint64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		batch, err := conn.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": fmt.Sprint(n)})), "INSERT INTO t")
		if err != nil {
			return err
		}
		defer batch.Close() //nolint:errcheck // it is sent
		random := rand.NewChaCha8([32]byte{byte(n)})
		text := make([]byte, 1_000)
		for range 1_000 { // more than a file may get, and not to be compressed below that
			random.Read(text) //nolint:errcheck // it never fails
			if err := batch.Append(n, text); err != nil {
				return err
			}
		}
		return batch.Send()
	}
	for n := range uint64(3) {
		if err := insert(n); err != nil {
			t.Fatal(err)
		}
	}
	const most = 256 << 10 // bytes of a file; the log stays below it
	if err := unix.Prlimit(c.Pid(local.ClickHouse), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
	if err := insert(3); err == nil {
		t.Error("an insert that could not be written is acknowledged")
	}
	select {
	case err := <-c.Failed():
		if !strings.Contains(err.Error(), "a write to a file failed") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the engine goes on")
	}
	if err := errors.Join(conn.Close(), c.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	_, conn = startClickHouse(t, o)
	if err := insert(3); err != nil {
		t.Error(err)
	}
	var rows, lengths uint64
	if err := conn.QueryRow(t.Context(), "SELECT count(), sum(length(s)) FROM t").Scan(&rows, &lengths); err != nil || rows != 4_000 || lengths != 4_000_000 {
		t.Errorf("%d rows of %d bytes after the start, %v", rows, lengths, err)
	}
}

func startClickHouse(t *testing.T, o local.Options) (*local.Cluster, clickhouse.Conn) {
	t.Helper()
	c, err := local.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{c.ClickHouseAddr}, Auth: clickhouse.Auth{Username: "ponix", Password: "ponix", Database: "ponix"}})
	if err != nil {
		t.Fatal(err)
	}
	return c, conn
}
