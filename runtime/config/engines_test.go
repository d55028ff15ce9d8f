package config_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ponix/runtime/config"
)

// TestEncodingOfPostgres holds that texts are UTF-8 on the way to PostgreSQL, whatever a database or
// a user has as its encoding: the driver takes them for that.
func TestEncodingOfPostgres(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	pool, err := c.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{c.Database}.Sanitize()+" SET client_encoding = 'LATIN1'"); err != nil {
		t.Fatal(err)
	}
	pool.Reset() // connections have what was so when they were made
	var characters int
	if err := pool.QueryRow(t.Context(), "SELECT char_length($1::text)", "Zürich").Scan(&characters); err != nil || characters != 6 {
		t.Errorf("got %d characters, %v", characters, err)
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
