package runtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// Each of these runs twice at once: what one makes must not be seen by the other.

func TestPostgresIsIsolated(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.Connect(t.Context(), runtimetest.Postgres(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			for _, sql := range []string{
				"CREATE TABLE a (b int)", "INSERT INTO a VALUES (1)",
				fmt.Sprintf("SELECT pg_create_logical_replication_slot('isolated_%d', 'pgoutput')", i),
			} {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
		})
	}
}

func TestClickHouseIsIsolated(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			conn, err := clickhouse.Open(runtimetest.ClickHouse(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if err := conn.Exec(t.Context(), "CREATE TABLE a (b Int32) ENGINE = MergeTree ORDER BY b"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNATSIsIsolated(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			js, err := jetstream.New(runtimetest.NATS(t))
			if err != nil {
				t.Fatal(err)
			}
			config := jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}, Storage: jetstream.FileStorage}
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			if ack, err := js.Publish(t.Context(), "s.a", nil); err != nil || ack.Sequence != 1 {
				t.Fatalf("got %+v, %v", ack, err)
			}
		})
	}
}

func TestEventuallyWaits(t *testing.T) {
	t.Parallel()
	calls := 0
	runtimetest.Eventually(t, time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}
