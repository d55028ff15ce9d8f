package migrations

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strings"
	"text/template"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Storage is how ClickHouse keeps the rows.
type Storage struct {
	Cluster string        // on which the tables are replicated; empty: one server
	TTL     time.Duration // after occurred_at, in whole seconds; 0: for ever
}

// ClickHouse returns the migrations of the database that o names. It connects
// when it is first used.
//
// On a cluster the servers need the macros {shard} and {replica}, and the
// database on each.
func ClickHouse(o *clickhouse.Options, s Storage) (*Database, error) {
	if s.TTL < 0 || s.TTL%time.Second != 0 {
		return nil, fmt.Errorf("a TTL of %v: it must be whole seconds and not negative", s.TTL)
	}
	own := *o
	own.ReadTimeout = max(own.ReadTimeout, 5*time.Minute) // of statements that every server of a cluster runs
	db := clickhouse.OpenDB(&own)
	d, err := open("ClickHouse", db, func() (*goose.Provider, error) {
		sub, err := fs.Sub(files, "clickhouse")
		if err != nil {
			return nil, err
		}
		store, err := newVersions(dialect{s.Cluster})
		if err != nil {
			return nil, err
		}
		return goose.NewProvider(goose.DialectCustom, db, rendered{sub, dialect{s.Cluster}},
			goose.WithStore(store), goose.WithDisableGlobalRegistry(true),
			goose.WithIsolateDDL(true)) // else all that is said of an error is that its rollback has closed the connection
	})
	if err != nil {
		return nil, err
	}
	d.settle = func(ctx context.Context) ([]Step, error) { return settle(ctx, db, s) }
	d.look = func(ctx context.Context) error { _, err := engineOf(ctx, db); return err }
	return d, nil
}

// dialect is how statements differ between one server and a cluster. The
// migrations are templates that are executed on it.
type dialect struct{ cluster string }

// OnCluster is the clause of a statement that every server is to run.
func (d dialect) OnCluster() string {
	if d.cluster == "" {
		return ""
	}
	return " ON CLUSTER " + quote(d.cluster)
}

// Engine is a table engine of the MergeTree family, replicated on a cluster.
func (d dialect) Engine(name string, args ...string) string {
	if d.cluster != "" {
		name = "Replicated" + name
		args = append([]string{"'/clickhouse/tables/{shard}/{database}/{table}'", "'{replica}'"}, args...)
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// DeduplicationWindow is the setting with the number of blocks whose
// insert_deduplication_token is remembered.
func (d dialect) DeduplicationWindow() string {
	if d.cluster != "" {
		return "replicated_deduplication_window"
	}
	return "non_replicated_deduplication_window"
}

// quote makes a string literal.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// rendered is a file system whose files are templates, executed on a
// dialect.
type rendered struct {
	fs.FS
	dialect dialect
}

// Open executes the template of that name.
func (r rendered) Open(name string) (fs.File, error) {
	f, err := r.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return f, err
	}
	t, err := template.ParseFS(r.FS, name)
	if err != nil {
		return nil, err
	}
	text := &bytes.Buffer{}
	if err := t.Execute(text, r.dialect); err != nil {
		return nil, err
	}
	return renderedFile{f, text}, nil
}

type renderedFile struct {
	fs.File
	text *bytes.Buffer
}

func (f renderedFile) Read(p []byte) (int, error) { return f.text.Read(p) }

// versions is goose's table of what was applied. On a cluster every server has
// all of it, whatever its shard, so that it does not matter which one answers.
type versions struct {
	database.Store
	create string
}

const versionsName = "goose_db_version"

func newVersions(d dialect) (*versions, error) {
	store, err := database.NewStore(goose.DialectClickHouse, versionsName)
	if err != nil {
		return nil, err
	}
	engine := "MergeTree"
	if d.cluster != "" {
		engine = "ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')"
	}
	sql := "CREATE TABLE IF NOT EXISTS " + versionsName + d.OnCluster() + ` (
    version_id Int64,
    is_applied UInt8,
    date       Date DEFAULT now(),
    tstamp     DateTime DEFAULT now()
)
ENGINE = ` + engine + `
ORDER BY version_id
SETTINGS ` + d.DeduplicationWindow() + ` = 0` // down and up again within a second writes the same row
	return &versions{store, sql}, nil
}

// CreateVersionTable implements [database.Store].
func (v *versions) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	_, err := db.ExecContext(ctx, v.create)
	return err
}
