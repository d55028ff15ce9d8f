// Package migrations holds the tables of PostgreSQL and ClickHouse and brings
// them up to date, or back.
//
// Any number of instances may migrate at a time. PostgreSQL's migrations run
// under an advisory lock, each in a transaction. ClickHouse has neither: there,
// every statement must be one that does no harm when it runs twice (IF NOT
// EXISTS, IF EXISTS).
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
)

//go:embed postgres/*.sql clickhouse/*.sql
var files embed.FS

// Database is one engine with its migrations.
type Database struct {
	Name     string // of the engine
	provider *goose.Provider
	settle   func(context.Context) ([]Step, error) // after Up
	look     func(context.Context) error           // whether what is noted as applied is there
}

// Step is something that was done.
type Step struct {
	Name string // of the migration's file, or what it was
	Took time.Duration
}

// State is a migration and when it was applied: zero if it was not.
type State struct {
	Name    string
	Applied time.Time
}

func open(name string, db *sql.DB, newProvider func() (*goose.Provider, error)) (*Database, error) {
	p, err := newProvider()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("migrations of %s: %w", name, err), db.Close())
	}
	return &Database{Name: name, provider: p}, nil
}

// Up applies what is pending. Steps that were taken before an error are returned
// with it.
func (d *Database) Up(ctx context.Context) ([]Step, error) {
	results, err := d.provider.Up(ctx)
	done, err := d.steps(results, err)
	if err != nil || d.settle == nil {
		return done, err
	}
	more, err := d.settle(ctx)
	return append(done, more...), d.failed(err)
}

// Down undoes the newest migration, which drops what is in its table. Where
// there is none it does nothing.
func (d *Database) Down(ctx context.Context) ([]Step, error) {
	result, err := d.provider.Down(ctx)
	if errors.Is(err, goose.ErrNoNextVersion) {
		return nil, nil
	}
	var results []*goose.MigrationResult
	if result != nil {
		results = append(results, result)
	}
	return d.steps(results, err)
}

// Reset undoes every migration, newest first.
func (d *Database) Reset(ctx context.Context) ([]Step, error) {
	results, err := d.provider.DownTo(ctx, 0)
	return d.steps(results, err)
}

// Status lists all migrations, oldest first, also beside the error that what one of them has made
// is gone.
func (d *Database) Status(ctx context.Context) ([]State, error) {
	all, err := d.provider.Status(ctx)
	if err != nil {
		return nil, d.failed(err)
	}
	var states []State
	for _, m := range all {
		states = append(states, State{path.Base(m.Source.Path), m.AppliedAt})
	}
	if d.look != nil && slices.ContainsFunc(states, func(s State) bool { return !s.Applied.IsZero() }) {
		err = d.look(ctx)
	}
	return states, d.failed(err)
}

// Close closes the connection.
func (d *Database) Close() error { return d.provider.Close() }

// steps is what goose did. Its PartialError knows what was done before it.
func (d *Database) steps(results []*goose.MigrationResult, err error) ([]Step, error) {
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
		err = fmt.Errorf("%s: %w", path.Base(partial.Failed.Source.Path), partial.Err)
	}
	if errors.Is(err, goose.ErrVersionNotFound) {
		err = fmt.Errorf("%w: the newest migration is of a newer ponix, and only that can undo it", err)
	}
	var done []Step
	for _, r := range results {
		done = append(done, Step{path.Base(r.Source.Path), r.Duration})
	}
	return done, d.failed(err)
}

// failed is err, where there is one, with the engine's name.
func (d *Database) failed(err error) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pg) && pg.Code == "42501": // insufficient_privilege
		err = fmt.Errorf("%w: PONIX_POSTGRES_USERNAME must be the user that owns the tables, or, where there are none, that has CREATE on the schema public; `status` of what is there needs SELECT on goose_db_version", err)
	}
	return fmt.Errorf("%s: %w", d.Name, err)
}
