package runtimetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"ponix/runtime/local"
)

// Postgres returns the connection string of an empty database, dropped when the test ends together
// with its replication slots. The server has wal_level=logical.
func Postgres(t testing.TB) string {
	t.Helper()
	e := started(t)
	cluster := e.get(t, &e.postgres, local.Options{SkipClickHouse: true, Database: "postgres"})
	name := e.name()
	if err := administer(cluster, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("runtimetest: %v", err)
	}
	t.Cleanup(func() {
		Eventually(t, callTimeout, func() error { // a slot is in use until its connection has ended
			return administer(cluster,
				fmt.Sprintf("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '%s' AND active", name),
				fmt.Sprintf("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '%s'", name),
				fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", name))
		})
	})
	return cluster.PostgresURL(name)
}

func administer(cluster *local.Cluster, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, cluster.PostgresURL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
