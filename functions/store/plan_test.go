package store

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"ponix/functions/internal/page"
	"ponix/migrations"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/runtimetest"
)

// migrated returns connections to a database that has the tables.
func migrated(t *testing.T, change func(*clickhouse.Options)) driver.Conn {
	t.Helper()
	o := runtimetest.ClickHouse(t)
	m, err := migrations.ClickHouse(o, migrations.Storage{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // what matters is there
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	change(o)
	db, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // the test is over
	return db
}

// TestListReadsItsPage holds that a page does not cost more where a device has more rows:
// it is found by the key of the table.
func TestListReadsItsPage(t *testing.T) {
	t.Parallel()
	db := migrated(t, func(*clickhouse.Options) {})
	const rows = 200_000 // a second apart
	begin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	if err := db.Exec(t.Context(), fmt.Sprintf(`INSERT INTO processed_envelopes
		SELECT 'o', 'd', toDateTime64('2026-05-01 00:00:00', 6, 'UTC') + number, now64(6), '{"n":1}', toString(number) FROM numbers(%d)`, rows)); err != nil {
		t.Fatal(err)
	}
	req := &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "d"}
	granules := regexp.MustCompile(`Granules: (\d+)/(\d+)`)
	for _, token := range []string{"", page.Token(scope(req), page.Key{Time: begin.Add(rows / 2 * time.Second), ID: "x"})} {
		req.PageToken = token
		sql, args, err := listQuery(req, 100)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := db.Query(t.Context(), "EXPLAIN indexes = 1 "+sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		var read, of int
		for plan.Next() {
			var line string
			if err := plan.Scan(&line); err != nil {
				t.Fatal(err)
			}
			if m := granules.FindStringSubmatch(line); m != nil {
				read, _ = strconv.Atoi(m[1])
				of, _ = strconv.Atoi(m[2])
			}
		}
		if err := plan.Err(); err != nil {
			t.Fatal(err)
		}
		if of < 20 || read > 3 {
			t.Errorf("a page after %q reads %d of %d granules", token, read, of)
		}
	}
}
