package migrations

import (
	"context"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Postgres returns the migrations of the database that dsn names. It connects
// when it is first used.
func Postgres(dsn string) (*Database, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = 5 * time.Second // else whoever takes the connection and says nothing is waited for without end
	// A table that is in use for long fails the migration rather than the traffic
	// that queues up behind it.
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SET lock_timeout = '1min'")
		return err
	}))
	return open("PostgreSQL", db, func() (*goose.Provider, error) {
		sub, err := fs.Sub(files, "postgres")
		if err != nil {
			return nil, err
		}
		// Tried every second, for five minutes.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return nil, err
		}
		return goose.NewProvider(goose.DialectPostgres, db, sub,
			goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	})
}
