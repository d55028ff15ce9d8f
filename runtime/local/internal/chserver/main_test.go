package chserver_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// compressions are those of clickhouse-go; every one is another path through the protocol.
var compressions = map[string]*clickhouse.Compression{
	"none": nil,
	"lz4":  {Method: clickhouse.CompressionLZ4},
	"zstd": {Method: clickhouse.CompressionZSTD},
}

// eachCompression runs a test once with each, on a database of its own.
func eachCompression(t *testing.T, test func(t *testing.T, conn driver.Conn)) {
	t.Parallel()
	for name, compression := range compressions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := runtimetest.ClickHouse(t)
			options.Compression = compression
			test(t, open(t, options))
		})
	}
}

func open(t *testing.T, options *clickhouse.Options) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func dial(t *testing.T) driver.Conn {
	t.Helper()
	return open(t, runtimetest.ClickHouse(t))
}

func exec(t *testing.T, conn driver.Conn, sql string, args ...any) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// insertRows sends one batch.
func insertRows(t *testing.T, conn driver.Conn, sql string, rows ...[]any) error {
	t.Helper()
	batch, err := conn.PrepareBatch(t.Context(), sql)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := batch.Append(row...); err != nil {
			return err
		}
	}
	return batch.Send()
}

func count(t *testing.T, conn driver.Conn, table string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// wantCode checks that err is an exception of the server with this code, and that the connection
// is usable after it.
func wantCode(t *testing.T, conn driver.Conn, err error, code int32) {
	t.Helper()
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) || exception.Code != code {
		t.Errorf("got %T %v, want an exception with code %d", err, err, code)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("ping afterwards: %v", err)
	}
	if open := conn.Stats().Open; open > 1 {
		t.Errorf("%d connections are open, want the one", open)
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}
