package cdc

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ponix/runtime/runtimetest"
)

// TestPasswordIsRenewed holds that the replication connection takes the password that the
// pool's new ones take.
func TestPasswordIsRenewed(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	password := config.ConnConfig.Password
	config.ConnConfig.Password = "old"
	config.BeforeConnect = func(_ context.Context, to *pgx.ConnConfig) error {
		to.Password = password
		return nil
	}
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
}
