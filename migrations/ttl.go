package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"time"
)

// settleTTL gives the table the TTL that is configured, where it has another.
// Being a setting and no migration, it may change at any time. ClickHouse
// removes what has expired in the background.
func settleTTL(ctx context.Context, db *sql.DB, s Storage) ([]Step, error) {
	began := time.Now()
	var engine string
	const sql = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'processed_envelopes'"
	if err := db.QueryRowContext(ctx, sql).Scan(&engine); err != nil {
		return nil, fmt.Errorf("read the TTL: %w", err)
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
