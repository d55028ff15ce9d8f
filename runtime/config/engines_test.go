package config_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
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
