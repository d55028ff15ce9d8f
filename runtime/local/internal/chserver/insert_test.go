package chserver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/pressly/goose/v3"

	"ponix/runtime/runtimetest"
)

func TestInsertRefusals(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	exec(t, conn, "CREATE TABLE c (a UInt32, CONSTRAINT small CHECK a < 10) ENGINE = MergeTree ORDER BY a")
	wantCode(t, conn, insertRows(t, conn, "INSERT INTO c", []any{uint32(50)}), 469)
	wantCode(t, conn, insertRows(t, conn, "INSERT INTO nosuch (a)"), 60)
	wantCode(t, conn, insertRows(t, conn, "INSERT INTO c (a, b)"), 16)
	if err := insertRows(t, conn, "INSERT INTO c"); err != nil { // no rows
		t.Error(err)
	}
	if err := insertRows(t, conn, "INSERT INTO `c` (`a`)", []any{uint32(5)}); err != nil {
		t.Error(err)
	}
	equal(t, count(t, conn, "c"), uint64(1))
}

// TestInsertWithoutBlocks has the rows in the statement itself.
func TestInsertWithoutBlocks(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	exec(t, conn, "CREATE TABLE w (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
	const settings = " SETTINGS async_insert = 0, log_comment = 'VALUES (1)' "
	for i, sql := range []string{
		"INSERT INTO w VALUES (1, 'x')", "INSERT INTO w (a) SELECT 2",
		"INSERT INTO w" + settings + "VALUES (3, 'x')", "INSERT INTO w (a)" + settings + "SELECT 4", "INSERT INTO w" + settings + "FORMAT CSV 5,x",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := conn.Exec(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		cancel()
		equal(t, count(t, conn, "w"), uint64(i+1))
	}
	if err := insertRows(t, conn, "INSERT INTO w (a)"+settings, []any{uint32(6)}); err != nil {
		t.Error(err)
	}
	equal(t, count(t, conn, "w"), uint64(6))
}

func TestInsertSeesChangedTable(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	exec(t, conn, "CREATE TABLE c (a UInt32) ENGINE = MergeTree ORDER BY a")
	if err := insertRows(t, conn, "INSERT INTO c", []any{uint32(1)}); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "ALTER TABLE c ADD COLUMN b String")
	if err := insertRows(t, conn, "INSERT INTO c", []any{uint32(2), "x"}); err != nil {
		t.Error(err)
	}
}

// TestInsertInManyBlocks goes past what is collected before the engine gets it.
func TestInsertInManyBlocks(t *testing.T) {
	eachCompression(t, func(t *testing.T, conn driver.Conn) {
		exec(t, conn, "CREATE TABLE big (i UInt32, s String) ENGINE = MergeTree ORDER BY i")
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO big")
		if err != nil {
			t.Fatal(err)
		}
		const blocks, rows = 5, 10_000
		text := strings.Repeat("x\n\n", 300)
		for b := range blocks {
			for i := range rows {
				if err := batch.Append(uint32(b*rows+i), text); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
		var n, bytes uint64
		if err := conn.QueryRow(t.Context(), "SELECT uniqExact(i), sum(length(s)) FROM big").Scan(&n, &bytes); err != nil {
			t.Fatal(err)
		}
		equal(t, []uint64{n, bytes}, []uint64{blocks * rows, blocks * rows * 900})
	})
}

func TestDeduplicationToken(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	exec(t, conn, "CREATE TABLE d (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100")
	for _, token := range []string{"one", "one", "two"} {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO d")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(batch.Append(uint64(1)), batch.Send()); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, count(t, conn, "d"), uint64(2))
}

func TestFinalReplaces(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	exec(t, conn, "CREATE TABLE r (id UInt64, v String) ENGINE = ReplacingMergeTree ORDER BY id")
	for i := range 3 {
		if err := insertRows(t, conn, "INSERT INTO r", []any{uint64(7), fmt.Sprint("v", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var v string
	if err := conn.QueryRow(t.Context(), "SELECT v FROM r FINAL").Scan(&v); err != nil {
		t.Fatal(err)
	}
	equal(t, []any{v, count(t, conn, "r FINAL")}, []any{"v2", uint64(1)})
}

func TestConcurrentInserts(t *testing.T) {
	t.Parallel()
	options := runtimetest.ClickHouse(t)
	options.MaxOpenConns, options.MaxIdleConns = 8, 8
	conn := open(t, options)
	exec(t, conn, "CREATE TABLE c (w UInt32, i UInt64, data JSON) ENGINE = MergeTree ORDER BY (w, i)")
	const batches, rows = 10, 200
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for b := range batches {
				var block [][]any
				for i := range rows {
					block = append(block, []any{uint32(w), uint64(b*rows + i), `{"a":1.5,"b":"x"}`})
				}
				if err := insertRows(t, conn, "INSERT INTO c", block...); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				var n uint64 // what is acknowledged can be read at once
				err := conn.QueryRow(t.Context(), "SELECT count() FROM c WHERE w = ?", w).Scan(&n)
				if err != nil || n != uint64((b+1)*rows) {
					t.Errorf("writer %d: %d rows after %d batches, %v", w, n, b+1, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDatabaseSQL(t *testing.T) {
	t.Parallel()
	db := clickhouse.OpenDB(runtimetest.ClickHouse(t))
	t.Cleanup(func() { _ = db.Close() })
	for _, sql := range []string{
		"CREATE TABLE s (a UInt32, b String) ENGINE = MergeTree ORDER BY a",
		"INSERT INTO s VALUES (1, 'x'), (2, 'y')",
		"INSERT INTO s SELECT number + 10, 'n' FROM numbers(3)",
	} {
		if _, err := db.ExecContext(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO s (a, b) VALUES (?, ?)", 3, "z'z"); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := tx.PrepareContext(t.Context(), "INSERT INTO s (a, b)")
	if err != nil {
		t.Fatal(err)
	}
	_, err = prepared.ExecContext(t.Context(), uint32(4), "p")
	if err := errors.Join(err, tx.Commit()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count() FROM s").Scan(&n); err != nil || n != 7 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestGooseMigrates(t *testing.T) {
	t.Parallel()
	db := clickhouse.OpenDB(runtimetest.ClickHouse(t))
	t.Cleanup(func() { _ = db.Close() })
	files := fstest.MapFS{
		"00001_a.sql": {Data: []byte("-- +goose Up\nCREATE TABLE g (o LowCardinality(String), data JSON) ENGINE = MergeTree ORDER BY o;\n-- +goose Down\nDROP TABLE g;\n")},
		"00002_b.sql": {Data: []byte("-- +goose Up\nALTER TABLE g ADD COLUMN x UInt8 DEFAULT 3;\nINSERT INTO g (o, data) VALUES ('o', '{\"a\":1}');\n-- +goose Down\nALTER TABLE g DROP COLUMN x;\n")},
	}
	p, err := goose.NewProvider(goose.DialectClickHouse, db, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		applied, err := p.Up(t.Context())
		if err != nil || len(applied) != want {
			t.Fatalf("up: %v, %v; want %d", applied, err, want)
		}
	}
	if _, err := p.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if version, err := p.GetDBVersion(context.WithoutCancel(t.Context())); err != nil || version != 1 {
		t.Errorf("version %d, %v", version, err)
	}
}
