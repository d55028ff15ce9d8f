package runtimetest

import (
	"context"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"ponix/runtime/local"
)

// ClickHouse returns the options of a client of an empty database, dropped when the test ends.
// Each call returns new ones, which the test may change.
func ClickHouse(t testing.TB) *clickhouse.Options {
	t.Helper()
	e := started(t)
	cluster := e.get(t, &e.click, local.Options{SkipPostgres: true, Database: "clickhouse"})
	options := func(database string) *clickhouse.Options {
		return &clickhouse.Options{
			Addr:        []string{cluster.ClickHouseAddr},
			Auth:        clickhouse.Auth{Database: database, Username: "ponix", Password: "ponix"},
			DialTimeout: 5 * time.Second,
		}
	}
	name := e.name()
	admin := func(sql string) {
		conn, err := clickhouse.Open(options("clickhouse"))
		if err != nil {
			t.Fatalf("runtimetest: %v", err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		if err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("runtimetest: %s: %v", sql, err)
		}
	}
	admin("CREATE DATABASE " + name)
	t.Cleanup(func() { admin("DROP DATABASE IF EXISTS " + name) })
	return options(name)
}
