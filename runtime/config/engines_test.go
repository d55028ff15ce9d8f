package config_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ponix/runtime/config"
)

// TestEncodingOfPostgres holds that texts are UTF-8 on the way to PostgreSQL, whatever a database or
// a user has as its encoding: the driver takes them for that.
func TestEncodingOfPostgres(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	pool := open(t, c)
	if _, err := pool.Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{c.Database}.Sanitize()+" SET client_encoding = 'LATIN1'"); err != nil {
		t.Fatal(err)
	}
	pool.Reset() // connections have what was so when they were made
	var characters int
	if err := pool.QueryRow(t.Context(), "SELECT char_length($1::text)", "Zürich").Scan(&characters); err != nil || characters != 6 {
		t.Errorf("got %d characters, %v", characters, err)
	}
}

// TestPreparedStatements holds that nothing stays prepared on a connection where it is switched
// off: behind a pooler, the next transaction may be on another one.
func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	for prepared, want := range map[string]int{"on": 1, "off": 0} {
		c := postgres(t)
		c.Prepared, c.Connections = prepared, 1
		pool := open(t, c)
		for range 2 { // what is described the first time is used the second
			var n int
			if err := pool.QueryRow(t.Context(), "SELECT $1::int + 1", 1).Scan(&n); err != nil || n != 2 {
				t.Errorf("%s: got %d, %v", prepared, n, err)
			}
		}
		var n int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements", pgx.QueryExecModeSimpleProtocol).Scan(&n); err != nil || n != want {
			t.Errorf("%s: %d statements are prepared, %v", prepared, n, err)
		}
	}
}

// TestErrorBehindAPooler holds that the error which a pooler causes that does not keep prepared
// statements names the setting for it.
func TestErrorBehindAPooler(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres(t))
	for _, sql := range []string{
		"PREPARE s AS SELECT 1; PREPARE s AS SELECT 1", // on a connection that another client has used
		"EXECUTE nothing", // on one that this client has not used
	} {
		_, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		if err = config.Explained(err); err == nil || !strings.Contains(err.Error(), "PONIX_POSTGRES_PREPARED_STATEMENTS") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// TestAddressesOfPostgres holds that an IPv6 address may have brackets, with a port and without.
func TestAddressesOfPostgres(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"::1", "[::1]", "[::1]:5432"} {
		dsn, err := config.Postgres{Host: host, Port: 5432, SSLMode: "disable"}.DSN()
		if err != nil || !strings.Contains(dsn, "@[::1]:5432/") {
			t.Errorf("%s: got %s, %v", host, dsn, err)
		}
	}
}

// TestAddressOfGRPC holds the same of where the bridge listens.
func TestAddressOfGRPC(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"::1": "[::1]:22", "[::1]": "[::1]:22", "localhost": "localhost:22", "": ":22"} {
		if got := (config.GRPC{Host: host}).Address(22); got != want {
			t.Errorf("%s: got %s", host, got)
		}
	}
}

// TestErrorOfTooManyConnections holds that the error of a PostgreSQL that takes no more
// connections names the setting for it.
func TestErrorOfTooManyConnections(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	pool := open(t, c)
	role := pgx.Identifier{"few of " + c.Database}
	if _, err := pool.Exec(t.Context(), "CREATE ROLE "+role.Sanitize()+" LOGIN CONNECTION LIMIT 0 PASSWORD 'ponix'"); err != nil {
		t.Fatal(err)
	}
	defer pool.Exec(context.Background(), "DROP ROLE "+role.Sanitize()) //nolint:errcheck // as good as gone
	c.Username = role[0]
	few := open(t, c)
	if err := config.Explained(few.Ping(t.Context())); err == nil || !strings.Contains(err.Error(), "PONIX_POSTGRES_CONNECTIONS") {
		t.Errorf("got %v", err)
	}
}

func open(t *testing.T, c config.Postgres) *pgxpool.Pool {
	t.Helper()
	pool, err := c.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
