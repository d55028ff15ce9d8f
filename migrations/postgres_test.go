package migrations

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3/lock"

	"ponix/runtime/runtimetest"
)

func openPostgres(t *testing.T, dsn string) *Database {
	t.Helper()
	d, err := Postgres(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func names(steps []Step) (all []string) {
	for _, s := range steps {
		all = append(all, s.Name)
	}
	return all
}

func pending(t *testing.T, d *Database) (all []string) {
	t.Helper()
	states, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Applied.IsZero() {
			all = append(all, s.Name)
		}
	}
	return all
}

// TestNewerSchema holds what an older binary does with a database that a newer one has migrated.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	d := openPostgres(t, dsn)
	must(t, d.Up)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over
	if _, err := conn.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)"); err != nil {
		t.Fatal(err)
	}
	if got := must(t, d.Up); got != nil {
		t.Errorf("Up did %v", got)
	}
	for name, undo := range map[string]func(context.Context) ([]Step, error){"Down": d.Down, "Reset": d.Reset} {
		if steps, err := undo(t.Context()); err == nil || steps != nil || !strings.Contains(err.Error(), "of a newer ponix") {
			t.Errorf("%s did %v, and says %v", name, names(steps), err)
		}
	}
}

// must returns the names of what was done, and fails the test on an error.
func must(t *testing.T, do func(context.Context) ([]Step, error)) []string {
	t.Helper()
	steps, err := do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return names(steps)
}

var postgresFiles = []string{"00001_organizations.sql", "00002_end_devices.sql", "00003_gateways.sql"}

func TestPostgresUpAndDown(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	d := openPostgres(t, dsn)
	if got := pending(t, d); !slices.Equal(got, postgresFiles) {
		t.Fatalf("at first %v are pending", got)
	}
	if got := must(t, d.Up); !slices.Equal(got, postgresFiles) {
		t.Fatalf("Up did %v", got)
	}
	if got := must(t, d.Up); got != nil {
		t.Fatalf("the second Up did %v", got)
	}
	if got := pending(t, d); got != nil {
		t.Fatalf("after Up %v are pending", got)
	}
	if got := must(t, d.Down); !slices.Equal(got, postgresFiles[2:]) {
		t.Fatalf("Down did %v", got)
	}
	must(t, d.Up)
	if got := must(t, d.Reset); len(got) != 3 || got[2] != postgresFiles[0] {
		t.Fatalf("Reset did %v", got)
	}
	if got := must(t, d.Down); got != nil {
		t.Fatalf("Down at the bottom did %v", got)
	}
	if got := postgresTables(t, dsn, "true"); !slices.Equal(got, []string{"goose_db_version"}) {
		t.Fatalf("Reset left %v", got)
	}
}

// TestPostgresStopsHalfway has a table in the way of the second migration: what was done is
// told, and what was not can be done later.
func TestPostgresStopsHalfway(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over
	if _, err := conn.Exec(t.Context(), "CREATE TABLE end_devices ()"); err != nil {
		t.Fatal(err)
	}
	d := openPostgres(t, dsn)
	steps, err := d.Up(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "PostgreSQL: 00002_end_devices.sql: ") || !slices.Equal(names(steps), postgresFiles[:1]) {
		t.Errorf("Up did %v, and says %v", names(steps), err)
	}
	if _, err := conn.Exec(t.Context(), "DROP TABLE end_devices"); err != nil {
		t.Fatal(err)
	}
	if got := must(t, d.Up); !slices.Equal(got, postgresFiles[1:]) {
		t.Errorf("the second Up did %v", got)
	}
}

// TestPostgresRefuses holds what the tables take from nobody, whatever an endpoint lets pass.
func TestPostgresRefuses(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	must(t, openPostgres(t, dsn).Up)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over
	const foreignKey, check, unique = "23503", "23514", "23505"
	for _, table := range []struct{ name, insert string }{
		{"organizations", "INSERT INTO organizations (id, name) SELECT $1, $2 WHERE $3 = $3"},
		{"end_devices", "INSERT INTO end_devices (id, name, organization_id) VALUES ($1, $2, $3)"},
		{"gateways", "INSERT INTO gateways (id, name, organization_id, status, type, config) VALUES ($1, $2, $3, 's', 't', '{}')"},
	} {
		for _, row := range []struct{ id, name, organization, code string }{
			{"o1", strings.Repeat("ä", 255), "o1", ""}, {"o1", "again", "o1", unique},
			{"o2", "", "o1", check}, {"o2", strings.Repeat("x", 256), "o1", check}, {"o2", "x", "nobody", foreignKey},
		} {
			if table.name == "organizations" && row.code == foreignKey {
				continue
			}
			_, err := conn.Exec(t.Context(), table.insert, row.id, row.name, row.organization)
			var refused *pgconn.PgError
			if errors.As(err, &refused); (err == nil) != (row.code == "") || err != nil && (refused == nil || refused.Code != row.code) {
				t.Errorf("%s, %.5q in %s: %v, want %s", table.name, row.name, row.organization, err, row.code)
			}
		}
	}
}

func TestPostgresReplicaIdentity(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	must(t, openPostgres(t, dsn).Up)
	if got := postgresTables(t, dsn, "relreplident = 'f'"); !slices.Equal(got, []string{"end_devices", "gateways", "organizations"}) {
		t.Fatalf("FULL is that of %v", got)
	}
}

func TestPostgresAtTheSameTime(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	if got := upAtTheSameTime(t, openPostgres(t, dsn), openPostgres(t, dsn), openPostgres(t, dsn)); !slices.Equal(got, postgresFiles) {
		t.Fatalf("all together did %v", got)
	}
}

// TestPostgresIsLocked holds that nobody migrates while somebody else does.
func TestPostgresIsLocked(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock($1)", lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	d := openPostgres(t, dsn)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if steps, err := d.Up(ctx); err == nil || steps != nil {
		t.Errorf("Up did %v, and says %v", names(steps), err)
	}
	if got := postgresTables(t, dsn, "relname <> 'goose_db_version'"); len(got) > 0 {
		t.Errorf("it has made %v", got)
	}
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock($1)", lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	must(t, d.Up)
}

// upAtTheSameTime returns all that was done.
func upAtTheSameTime(t *testing.T, all ...*Database) []string {
	t.Helper()
	done := make([][]Step, len(all))
	var group sync.WaitGroup
	for i, d := range all {
		group.Go(func() {
			var err error
			if done[i], err = d.Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	return names(slices.Concat(done...))
}

func postgresTables(t *testing.T, dsn, where string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND "+where+" ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestPostgresThatSaysNothing holds that whoever takes the connection and says nothing, as a
// proxy without a server behind it, is not waited for without end.
func TestPostgresThatSaysNothing(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) //nolint:errcheck // the test is over
	d := openPostgres(t, "postgres://ponix:ponix@"+ln.Addr().String()+"/ponix?sslmode=disable")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := d.Status(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("it was waited for until the test gave up: %v", err)
	}
}
