package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// settle holds the table to what is configured. The TTL it is given, where it has
// another: being a setting and no migration, that may change at any time, and
// ClickHouse removes what has expired in the background.
func settle(ctx context.Context, db *sql.DB, s Storage) ([]Step, error) {
	began := time.Now()
	engine, err := engineOf(ctx, db)
	if err != nil {
		return nil, err
	}
	if s.Cluster != "" && !replicated.MatchString(engine) {
		name, _, _ := strings.Cut(engine, "(")
		return nil, fmt.Errorf("the table processed_envelopes is there already, made for one server (%s), and nothing of it is replicated on the cluster %q: PONIX_CLICKHOUSE_DATABASE may name another database, to which its rows can be moved (INSERT INTO … SELECT)", name, s.Cluster)
	}
	alter, name := ttlChange(engine, s)
	if alter == "" {
		return nil, nil
	}
	if _, err := db.ExecContext(ctx, alter); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return []Step{{name, time.Since(began)}}, nil
}

// engineOf is how ClickHouse describes the table's engine. That the table is gone may be since
// `down` was interrupted before it could note that.
func engineOf(ctx context.Context, db *sql.DB) (engine string, err error) {
	const query = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'processed_envelopes'"
	switch err := db.QueryRowContext(ctx, query).Scan(&engine); {
	case errors.Is(err, sql.ErrNoRows):
		return "", errors.New("the table processed_envelopes was made and is gone: `ponix migrate down clickhouse`, and then `up`, make it again")
	case err != nil:
		return "", fmt.Errorf("read the engine of processed_envelopes: %w", err)
	}
	return engine, nil
}

// replicated are the engines of which every replica has all rows; Shared ones are ClickHouse Cloud's.
var replicated = regexp.MustCompile(`^(Replicated|Shared)`)

// ttlClause is that of a table's engine, as ClickHouse formats it.
var ttlClause = regexp.MustCompile(` TTL (.*?)(?: SETTINGS |$)`)

// ttlChange is the statement that turns a table's TTL into that of s, empty if
// it has it, and what to call that.
func ttlChange(engine string, s Storage) (alter, name string) {
	want, have := "", ""
	if s.TTL > 0 {
		want = fmt.Sprintf("occurred_at + toIntervalSecond(%d)", int64(s.TTL/time.Second))
	}
	if m := ttlClause.FindStringSubmatch(engine); m != nil {
		have = m[1]
	}
	if want == have {
		return "", ""
	}
	alter = "ALTER TABLE processed_envelopes" + dialect{s.Cluster}.OnCluster()
	if want == "" {
		return alter + " REMOVE TTL", "keep rows for ever"
	}
	return alter + " MODIFY TTL " + want, "keep rows for " + s.TTL.String()
}
