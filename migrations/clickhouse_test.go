package migrations

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"ponix/runtime/runtimetest"
)

func openClickHouse(t *testing.T, o *clickhouse.Options, s Storage) *Database {
	t.Helper()
	d, err := ClickHouse(o, s)
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

func connect(t *testing.T, o *clickhouse.Options) driver.Conn {
	t.Helper()
	c, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func scanString(t *testing.T, c driver.Conn, sql string) (s string) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

const tables = "SELECT arrayStringConcat(arraySort(groupArray(name)), ' ') FROM system.tables WHERE database = currentDatabase()"

func TestClickHouseUpAndDown(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	c := connect(t, o)
	d := openClickHouse(t, o, Storage{})
	file := []string{"00001_processed_envelopes.sql"}
	if got := pending(t, d); !slices.Equal(got, file) {
		t.Fatalf("at first %v are pending", got)
	}
	for range 2 { // within the same second, too
		if got := must(t, d.Up); !slices.Equal(got, file) {
			t.Fatalf("Up did %v", got)
		}
		if got := must(t, d.Up); got != nil {
			t.Fatalf("the second Up did %v", got)
		}
		if got := pending(t, d); got != nil {
			t.Fatalf("after Up %v are pending", got)
		}
		if got := scanString(t, c, tables); got != "goose_db_version processed_envelopes" {
			t.Fatalf("Up made %s", got)
		}
		if got := must(t, d.Down); !slices.Equal(got, file) {
			t.Fatalf("Down did %v", got)
		}
		if got := scanString(t, c, tables); got != "goose_db_version" {
			t.Fatalf("Down left %s", got)
		}
	}
	if got := must(t, d.Down); got != nil {
		t.Fatalf("Down at the bottom did %v", got)
	}
}

func TestClickHouseAtTheSameTime(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	s := Storage{TTL: time.Hour}
	upAtTheSameTime(t, openClickHouse(t, o, s), openClickHouse(t, o, s), openClickHouse(t, o, s))
	d := openClickHouse(t, o, s)
	if got := must(t, d.Up); got != nil {
		t.Fatalf("one more Up did %v", got)
	}
	must(t, d.Down) // although all of them noted the version
	if got := pending(t, d); len(got) != 1 {
		t.Fatalf("after Down %v are pending", got)
	}
}

// TestClusterAfterwards holds that whoever names a cluster where the table is there
// already, for one server, hears that nothing becomes replicated.
func TestClusterAfterwards(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	must(t, openClickHouse(t, o, Storage{}).Up)
	_, err := openClickHouse(t, o, Storage{Cluster: "c"}).Up(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "ClickHouse: ") || !strings.Contains(err.Error(), `made for one server (ReplacingMergeTree), and nothing of it is replicated on the cluster "c"`) {
		t.Errorf("got %v", err)
	}
}

// TestTableIsGone holds that who has dropped the table is told how to make it again, and can.
func TestTableIsGone(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	d := openClickHouse(t, o, Storage{})
	must(t, d.Up)
	if err := connect(t, o).Exec(t.Context(), "DROP TABLE processed_envelopes"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "migrate down clickhouse") {
		t.Errorf("got %v", err)
	}
	if states, err := d.Status(t.Context()); len(states) != 1 || err == nil || !strings.HasPrefix(err.Error(), "ClickHouse: the table processed_envelopes was made and is gone") {
		t.Errorf("Status got %v, %v", states, err)
	}
	must(t, d.Down)
	if got := pending(t, d); len(got) != 1 {
		t.Errorf("after Down %v is pending", got)
	}
	must(t, d.Up)
}

// TestUnknownCluster holds that what went wrong first is what is said.
func TestUnknownCluster(t *testing.T) {
	t.Parallel()
	steps, err := openClickHouse(t, runtimetest.ClickHouse(t), Storage{Cluster: "nowhere"}).Up(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "ClickHouse: ") || !strings.Contains(err.Error(), "nowhere") || steps != nil {
		t.Errorf("Up did %v, and says %v", names(steps), err)
	}
}

// TestReplicated holds of which engines every replica has all rows.
func TestReplicated(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]bool{
		"ReplicatedReplacingMergeTree('/clickhouse', 'r', processed_at)": true, "SharedReplacingMergeTree('/clickhouse', 'r', processed_at)": true,
		"ReplacingMergeTree(processed_at)": false, "Distributed('Replicated', 'Shared')": false,
	} {
		if replicated.MatchString(engine) != want {
			t.Error(engine)
		}
	}
}

func TestClickHouseTTL(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	c := connect(t, o)
	for _, step := range []struct {
		ttl  time.Duration
		done string
		want string
	}{
		{0, "00001_processed_envelopes.sql", ""},
		{0, "", ""},
		{48 * time.Hour, "keep rows for 48h0m0s", "occurred_at + toIntervalSecond(172800)"},
		{48 * time.Hour, "", "occurred_at + toIntervalSecond(172800)"},
		{time.Hour, "keep rows for 1h0m0s", "occurred_at + toIntervalSecond(3600)"},
		{0, "keep rows for ever", ""},
		{0, "", ""},
	} {
		got := strings.Join(must(t, openClickHouse(t, o, Storage{TTL: step.ttl}).Up), " ")
		if got != step.done {
			t.Errorf("TTL %v: Up did %q, want %q", step.ttl, got, step.done)
		}
		engine := scanString(t, c, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'processed_envelopes'")
		have := ""
		if m := ttlClause.FindStringSubmatch(engine); m != nil {
			have = m[1]
		}
		if have != step.want {
			t.Errorf("TTL %v: the table has %q, want %q: %s", step.ttl, have, step.want, engine)
		}
	}
	for _, bad := range []time.Duration{-time.Hour, time.Millisecond} {
		if _, err := ClickHouse(o, Storage{TTL: bad}); err == nil {
			t.Errorf("a TTL of %v was accepted", bad)
		}
	}
}

// Rows far in the future must not wrap around into the past.
func TestClickHouseTTLRemovesOldRowsOnly(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	must(t, openClickHouse(t, o, Storage{TTL: time.Hour}).Up)
	c := connect(t, o)
	for _, sql := range []string{
		`INSERT INTO processed_envelopes VALUES
			('o', 'd', '2001-01-01 00:00:00', now64(6), '{}', 'old'),
			('o', 'd', '1901-01-01 00:00:00', now64(6), '{}', 'very old'),
			('o', 'd', now64(6), now64(6), '{}', 'new'),
			('o', 'd', '2250-01-01 00:00:00', now64(6), '{}', 'to come')`,
		"OPTIMIZE TABLE processed_envelopes FINAL",
	} {
		if err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const left = "SELECT arrayStringConcat(arraySort(groupArray(envelope_id)), ' ') FROM processed_envelopes"
	if got := scanString(t, c, left); got != "new to come" {
		t.Fatalf("left: %s", got)
	}
}

func TestClickHouseReplaces(t *testing.T) {
	t.Parallel()
	o := runtimetest.ClickHouse(t)
	must(t, openClickHouse(t, o, Storage{}).Up)
	c := connect(t, o)
	for _, data := range []string{
		`('o', 'd', '2026-01-02 03:04:05.000006', '2026-01-02 03:05:00', '{"n": 2}', 'e')`,
		`('o', 'd', '2026-01-02 03:04:05.000006', '2026-01-02 03:04:06', '{"n": 1}', 'e')`, // late, but processed before
		`('o', 'd', '2026-01-02 03:04:05.000006', '2026-01-02 03:04:06', '{"n": 3}', 'f')`,
	} {
		if err := c.Exec(t.Context(), "INSERT INTO processed_envelopes VALUES "+data); err != nil {
			t.Fatal(err)
		}
	}
	const all = "SELECT arrayStringConcat(groupArray(concat(envelope_id, '=', toString(data.n), '@', toString(occurred_at))), ' ') FROM (SELECT * FROM processed_envelopes FINAL ORDER BY envelope_id)"
	if got := scanString(t, c, all); got != "e=2@2026-01-02 03:04:05.000006 f=3@2026-01-02 03:04:05.000006" {
		t.Fatal(got)
	}
}

var update = flag.Bool("update", false, "write testdata anew")

// What a cluster gets cannot be run on one engine: the text is held.
func TestClusterDDL(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Storage{"single": {}, "cluster": {Cluster: "it's", TTL: time.Hour}} {
		sub, err := fs.Sub(files, "clickhouse")
		if err != nil {
			t.Fatal(err)
		}
		fsys := rendered{sub, dialect{s.Cluster}}
		all, err := fs.Glob(fsys, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		v, err := newVersions(dialect{s.Cluster})
		if err != nil {
			t.Fatal(err)
		}
		alter, _ := ttlChange("ReplacingMergeTree(processed_at) ORDER BY occurred_at TTL occurred_at + toIntervalSecond(7) SETTINGS index_granularity = 8192", s)
		got := v.create + ";\n\n" + alter + ";\n"
		for _, file := range all {
			text, err := fs.ReadFile(fsys, file)
			if err != nil {
				t.Fatal(err)
			}
			got += "\n" + string(text)
		}
		golden := filepath.Join("testdata", name+".sql")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (go test -update writes it anew):\n%s", golden, got)
		}
	}
}
