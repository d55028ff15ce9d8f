package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ponix/migrations"
	"ponix/runtime/config"
)

type migrateCommand struct {
	Up     migrateUpCommand     `cmd:"" help:"Apply what is pending."`
	Status migrateStatusCommand `cmd:"" help:"List the migrations and when each was applied."`
	Down   migrateDownCommand   `cmd:"" help:"Undo the newest migration. What is in its table is lost."`
}

// tables is what can be migrated.
type tables struct {
	config.Postgres
	config.ClickHouse
	Engine string `arg:"" optional:"" enum:"all,postgres,clickhouse" default:"all" help:"Where: ${enum}."`
}

// each takes one engine after the other, PostgreSQL first, once both are configured well.
func (t tables) each(do func(*migrations.Database) error) error {
	all, err := t.open()
	for _, d := range all {
		if err == nil {
			err = do(d)
		}
		err = errors.Join(err, d.Close())
	}
	return err
}

// open returns those that are to be closed with its error, too.
func (t tables) open() (all []*migrations.Database, err error) {
	if t.Engine != "clickhouse" {
		dsn, err := t.DSN()
		if err != nil {
			return nil, err
		}
		d, err := migrations.Postgres(dsn)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if t.Engine == "postgres" {
		return all, nil
	}
	o, err := t.Options()
	if err != nil {
		return all, err
	}
	d, err := migrations.ClickHouse(o, migrations.Storage{Cluster: t.Cluster, TTL: t.TTL})
	if err != nil {
		return all, &config.Error{Variable: "PONIX_CLICKHOUSE_TTL", Cause: err}
	}
	return append(all, d), nil
}

type migrateUpCommand struct{ tables }

func (c *migrateUpCommand) Run(e *env) error {
	return c.each(func(d *migrations.Database) error { return showSteps(e, d, d.Up) })
}

type migrateDownCommand struct {
	tables
	All bool `env:"-" help:"Undo every migration."`
}

func (c *migrateDownCommand) Run(e *env) error {
	return c.each(func(d *migrations.Database) error {
		if c.All {
			return showSteps(e, d, d.Reset)
		}
		return showSteps(e, d, d.Down)
	})
}

// showSteps shows what was done, also where it ended with an error.
func showSteps(e *env, d *migrations.Database, do func(context.Context) ([]migrations.Step, error)) error {
	show := &progress{out: e.out}
	steps, err := do(e.ctx)
	for _, s := range steps {
		show.done(d.Name, s.Name, s.Took)
	}
	if err == nil && len(steps) == 0 {
		show.done(d.Name, "nothing to do", 0)
	}
	return err
}

type migrateStatusCommand struct {
	tables
	format
}

func (c *migrateStatusCommand) Run(e *env) error {
	var rows [][]string
	err := c.each(func(d *migrations.Database) error {
		states, err := d.Status(e.ctx)
		for _, s := range states {
			if c.Format == "json" {
				if err := e.out.json(migrationState(d, s)); err != nil {
					return err
				}
				continue
			}
			applied := "pending"
			if !s.Applied.IsZero() {
				applied = s.Applied.UTC().Format(time.RFC3339)
			}
			rows = append(rows, []string{d.Name, s.Name, applied})
		}
		return err
	})
	if len(rows) > 0 {
		e.out.table([]string{"ENGINE", "MIGRATION", "APPLIED"}, rows)
	}
	return err
}

// migrationState is a line of JSON; applied_at is null for what is pending.
func migrationState(d *migrations.Database, s migrations.State) map[string]any {
	line := map[string]any{"engine": d.Name, "migration": s.Name, "applied_at": nil}
	if !s.Applied.IsZero() {
		line["applied_at"] = s.Applied.UTC()
	}
	return line
}

// migrate brings the tables up to date while a cluster starts.
func (c *upCommand) migrate(e *env, show *progress) error {
	began, applied := time.Now(), 0
	err := tables{Postgres: c.Postgres, ClickHouse: c.ClickHouse}.each(func(d *migrations.Database) error {
		steps, err := d.Up(e.ctx)
		applied += len(steps)
		return err
	})
	if err != nil {
		return err
	}
	what := "up to date"
	if applied > 0 {
		what = fmt.Sprintf("%d applied", applied)
	}
	show.done("migrations", what, time.Since(began))
	return nil
}
