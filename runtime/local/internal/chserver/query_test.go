package chserver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"ponix/runtime/runtimetest"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	version, err := dial(t).ServerVersion()
	if err != nil || version.Version.Major != 26 || version.Version.Minor < 7 {
		t.Errorf("got %v, %v", version, err)
	}
}

func TestLargeResultStreams(t *testing.T) {
	eachCompression(t, func(t *testing.T, conn driver.Conn) {
		rows, err := conn.Query(t.Context(), "SELECT number, toString(number), toLowCardinality(toString(number % 7)) FROM numbers(1000000)")
		if err != nil {
			t.Fatal(err)
		}
		var n, number uint64
		var text, low string
		for ; rows.Next(); n++ {
			if err := rows.Scan(&number, &text, &low); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || n != 1_000_000 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

func TestEmptyResultHasColumns(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	for _, sql := range []string{
		"SELECT number, toString(number) s FROM numbers(10) WHERE number > 100;",
		"-- a remark\nWITH 1 AS x SELECT number, 'a' AS s FROM numbers(10) WHERE number > 100 -- the end",
		"(SELECT number, 'a' AS s FROM numbers(0)) FORMAT JSON",
	} {
		rows, err := conn.Query(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if rows.Next() {
			t.Errorf("%s: a row", sql)
		}
		equal(t, rows.Columns(), []string{"number", "s"})
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	rows, err := conn.Query(t.Context(), "SHOW TABLES")
	if err != nil {
		t.Fatal(err)
	}
	if rows.Next() || rows.Err() != nil {
		t.Errorf("tables in an empty database, or %v", rows.Err())
	}
	_ = rows.Close()
}

func TestExceptionsCarryTheirCode(t *testing.T) {
	t.Parallel()
	for sql, code := range map[string]int32{
		"SELECT * FROM nosuch": 60,
		"SELEC 1":              62,
		"SELECT throwIf(number = 500000) FROM numbers(1000000) SETTINGS max_block_size = 1000":            395, // after rows
		"SELECT number % 2 AS k, count() FROM numbers(9) GROUP BY k WITH TOTALS":                          48,
		"SELECT count() FROM numbers(1e12) WHERE sipHash64(number) = 1 SETTINGS max_execution_time = 0.2": 159,
		"SELECT groupArray(number) FROM numbers(1e9) SETTINGS max_memory_usage = 10000000":                241,
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			conn := dial(t)
			rows, err := conn.Query(t.Context(), sql)
			if err == nil {
				for rows.Next() {
				}
				err = rows.Err()
				_ = rows.Close()
			}
			wantCode(t, conn, err, code)
		})
	}
}

func TestTotalsOnlyInText(t *testing.T) {
	t.Parallel()
	var text string
	err := dial(t).QueryRow(t.Context(), `SELECT 'it\'s WITH TOTALS' /* WITH TOTALS */ -- WITH TOTALS`).Scan(&text)
	if err != nil || text != "it's WITH TOTALS" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	var s, bound string
	var n uint32
	var got time.Time
	err := conn.QueryRow(t.Context(), "SELECT {s:String}, {n:UInt32}, {t:DateTime64(3)}",
		clickhouse.Named("s", "a'b\\c\n\td"), clickhouse.Named("n", 7), clickhouse.DateNamed("t", at, clickhouse.MilliSeconds)).Scan(&s, &n, &got)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, []any{s, n, got.UTC()}, []any{"a'b\\c\n\td", uint32(7), at})
	if err := conn.QueryRow(t.Context(), "SELECT concat(?, '-', toString(?))", "it's", 5).Scan(&bound); err != nil {
		t.Fatal(err)
	}
	equal(t, bound, "it's-5")
}

func TestSettingsLastOneQuery(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	setting := func(ctx context.Context, name string) (value string, err error) {
		err = conn.QueryRow(ctx, "SELECT toString(getSetting('"+name+"'))").Scan(&value)
		return value, err
	}
	with := func(s clickhouse.Settings) context.Context {
		return clickhouse.Context(t.Context(), clickhouse.WithSettings(s))
	}
	for _, name := range []string{"max_block_size", "max_memory_usage"} {
		before, err := setting(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if during, err := setting(with(clickhouse.Settings{name: 123456789}), name); err != nil || during != "123456789" {
			t.Errorf("%s: got %s, %v", name, during, err)
		}
		if after, err := setting(t.Context(), name); err != nil || after != before {
			t.Errorf("%s: got %s, %v; want %s again", name, after, err, before)
		}
	}
	_, err := setting(with(clickhouse.Settings{"no_such_setting": 1}), "max_threads")
	wantCode(t, conn, err, 115)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var read, sum uint64
	ctx := clickhouse.Context(t.Context(), clickhouse.WithProgress(func(p *clickhouse.Progress) { read += p.Rows }))
	if err := dial(t).QueryRow(ctx, "SELECT sum(number) FROM numbers(100000)").Scan(&sum); err != nil {
		t.Fatal(err)
	}
	if read != 100_000 {
		t.Errorf("%d rows read, want 100000", read)
	}
}

func TestCancelStopsTheQuery(t *testing.T) {
	t.Parallel()
	conn := dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- conn.Exec(ctx, "SELECT count() FROM numbers(1e15) WHERE sipHash64(number) = 424242") }()
	running := func() (n uint64) {
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%= 424242' AND NOT query LIKE '%processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if running() == 0 {
			return errors.New("not running")
		}
		return nil
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if running() > 0 {
			return errors.New("still running")
		}
		return nil
	})
}

func TestRefusedAtTheDoor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*clickhouse.Options)
		code   int32
	}{
		"password": {func(o *clickhouse.Options) { o.Auth.Password = "nope" }, 516},
		"user":     {func(o *clickhouse.Options) { o.Auth.Username = "default" }, 516},
		"database": {func(o *clickhouse.Options) { o.Auth.Database = "nosuch" }, 81},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := runtimetest.ClickHouse(t)
			c.change(options)
			var exception *clickhouse.Exception
			if err := open(t, options).Ping(t.Context()); !errors.As(err, &exception) || exception.Code != c.code {
				t.Errorf("got %v, want code %d", err, c.code)
			}
		})
	}
}
