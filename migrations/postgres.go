package migrations

import (
	"io/fs"

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
	config.RuntimeParams["lock_timeout"] = "60000" // ms, so that a long transaction fails a migration and not the traffic behind it
	db := stdlib.OpenDB(*config)
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
