package cdc_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// Whatever became of the slot while nobody read it: what happened meanwhile is
// seen, and the loss is told.
func TestLostSlot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lose, told string }{
		"dropped":          {"SELECT pg_drop_replication_slot($slot)", "it is gone"},
		"dropped and made": {"SELECT pg_drop_replication_slot($slot); SELECT pg_create_logical_replication_slot($slot, 'pgoutput')", "only what came before"},
		"moved":            {"SELECT pg_replication_slot_advance($slot, pg_current_wal_lsn())", "only what came before"},
		"not published":    {"DROP PUBLICATION ponix_cdc_publication", "the publication ponix_cdc_publication was gone"},
		"published partly": {"ALTER PUBLICATION ponix_cdc_publication DROP TABLE organizations", "did not have every change"},
		"some rows":        {"ALTER PUBLICATION ponix_cdc_publication SET TABLE organizations WHERE (name = 'a'), end_devices, gateways", "did not have every change"},
		"no emptied ones":  {"ALTER PUBLICATION ponix_cdc_publication SET (publish = 'insert, update, delete')", "did not have every change"},
		"published again":  {"ALTER PUBLICATION ponix_cdc_publication DROP TABLE organizations; DELETE FROM organizations WHERE id = 'gone'; ALTER PUBLICATION ponix_cdc_publication ADD TABLE organizations", "was altered"},
		"made again":       {"DROP PUBLICATION ponix_cdc_publication; DELETE FROM organizations WHERE id = 'gone'; CREATE PUBLICATION ponix_cdc_publication FOR TABLE organizations, end_devices, gateways", "was altered"},
		"old keys only":    {"ALTER TABLE organizations REPLICA IDENTITY DEFAULT; DELETE FROM organizations WHERE id = 'gone'; ALTER TABLE organizations REPLICA IDENTITY FULL", "its snapshot was not finished"},
		"no updates":       {"ALTER PUBLICATION ponix_cdc_publication SET (publish = 'insert')", "did not have every change"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			stop := e.instance(t)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'a'), ('gone', 'a')")
			e.events(t, "organizations", 2)
			stop()
			e.free(t)
			if !strings.Contains(c.lose, "'gone'") {
				e.exec(t, "DELETE FROM organizations WHERE id = 'gone'")
			}
			for sql := range strings.SplitSeq(c.lose, "; ") {
				e.exec(t, strings.ReplaceAll(sql, "$slot", "'"+e.config.Slot+"'"))
			}
			e.exec(t, "UPDATE organizations SET name = 'b'")
			e.instance(t)
			e.streaming(t)
			all := e.events(t, "organizations", 4)
			if o := decode(t, all[2], &organizationv1.Organization{}); o.Name != "b" || all[2].operation != "snapshot" {
				t.Errorf("got %s with %v", kinds(all), o)
			}
			if end := all[3]; end.subject != "organizations.update" || end.operation != "complete" || end.since != "3" || len(end.data) > 0 || len(e.events(t, "end_devices", 0)) > 0 {
				t.Errorf("what is gone is not told: %s, since %q", kinds(all), end.since)
			}
			e.exec(t, "UPDATE organizations SET name = 'c'")
			if last := e.events(t, "organizations", 5)[4]; last.operation != "update" || last.since != "" {
				t.Errorf("got %v", last)
			}
			if s, err := e.status(t); err != nil || !strings.Contains(s.LastError, c.told) {
				t.Errorf("got %v, %v", s, err)
			}
		})
	}
}

// A table that others took from the publication while the tail runs.
func TestPublicationIsKeptInStep(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	e.streaming(t)
	e.exec(t, "ALTER PUBLICATION ponix_cdc_publication DROP TABLE organizations")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'unseen')")
	if all := e.events(t, "organizations", 1); all[0].operation != "snapshot" {
		t.Errorf("got %s", kinds(all))
	}
	// One that is there again when somebody looks.
	e.exec(t, "ALTER PUBLICATION ponix_cdc_publication DROP TABLE organizations")
	e.exec(t, "UPDATE organizations SET name = 'unseen, too'")
	e.exec(t, "ALTER PUBLICATION ponix_cdc_publication ADD TABLE organizations")
	if all := e.events(t, "organizations", 3); all[1].operation != "snapshot" {
		t.Errorf("got %s", kinds(all))
	}
	// One that does not concern us goes, and nothing else happens.
	e.exec(t, "CREATE TABLE others (id int PRIMARY KEY)")
	e.exec(t, "ALTER PUBLICATION ponix_cdc_publication ADD TABLE others")
	e.exec(t, "INSERT INTO others VALUES (1)")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'seen')")
	if all := e.events(t, "organizations", 4); all[3].operation != "insert" {
		t.Errorf("got %s", kinds(all))
	}
}

// A table that has another name for a while is followed under it, too.
func TestRenamedTable(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	e.streaming(t)
	e.exec(t, "ALTER TABLE organizations RENAME TO others")
	e.exec(t, "INSERT INTO others (id, name) VALUES ('o', 'meanwhile')")
	e.exec(t, "ALTER TABLE others RENAME TO organizations")
	e.wantEventOf(t, "meanwhile")
}

// A table whose rows are in others is refused, from the start or while the tail runs:
// PostgreSQL tells of their changes as those of other tables.
func TestTableOfParts(t *testing.T) {
	t.Parallel()
	const told = "has partitions, or tables that inherit from it"
	for name, part := range map[string]string{
		"inherited": "CREATE TABLE more () INHERITS (gateways)",
		"partitions": "ALTER TABLE gateways RENAME TO part; CREATE TABLE gateways (LIKE part INCLUDING ALL) PARTITION BY HASH (id);" +
			"ALTER TABLE gateways ATTACH PARTITION part FOR VALUES WITH (MODULUS 1, REMAINDER 0); ALTER TABLE gateways REPLICA IDENTITY FULL",
	} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprint(name, running), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				if running {
					e.instance(t)
					e.streaming(t)
					e.exec(t, part)
				} else {
					e.exec(t, part)
					e.instance(t)
				}
				runtimetest.Eventually(t, 20*time.Second, func() error {
					s, err := e.status(t)
					if err == nil && !strings.Contains(s.LastError, told) {
						err = fmt.Errorf("got %v", s)
					}
					return err
				})
			})
		}
	}
}

// A slot of somebody else is left alone.
func TestForeignSlot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", e.config.Slot)
	e.instance(t)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if s, err := e.status(t); err != nil || !strings.Contains(s.LastError, "PONIX_CDC_SLOT_NAME") {
			return fmt.Errorf("got %v, %w", s, err)
		}
		return nil
	})
	if !e.truth(t, "SELECT plugin = 'test_decoding' FROM pg_replication_slots WHERE slot_name = '"+e.config.Slot+"'") {
		t.Error("it was replaced")
	}
}

// A slot that an earlier name has left is told of; one of somebody else's kind is not.
func TestUnreadSlot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	log := &runtimetest.Text{}
	e.log = log
	e.exec(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", e.config.Slot+"_before")
	e.exec(t, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", e.config.Slot+"_other")
	e.instance(t)
	e.streaming(t)
	if got := log.String(); !strings.Contains(got, "SELECT pg_drop_replication_slot('"+e.config.Slot+"_before')") || strings.Contains(got, "_other") {
		t.Errorf("the log is %s", got)
	}
}

// While our tables are idle and another database writes, the slot goes on: it
// does not keep the log of the whole server.
func TestIdle(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	busy, err := pgx.Connect(t.Context(), runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close(t.Context()) //nolint:errcheck // the test is over
	e.exec(t, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", e.config.Slot+"_spy")
	e.instance(t)
	e.streaming(t)
	const sql = "SELECT (restart_lsn - '0/0')::bigint, (pg_current_wal_lsn() - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1"
	var before, target, restart, server int64
	if err := e.db.QueryRow(t.Context(), sql, e.config.Slot).Scan(&before, &server); err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Exec(t.Context(), "CREATE TABLE busy AS SELECT repeat('x', 1000) AS s FROM generate_series(1, 5000)"); err != nil {
		t.Fatal(err)
	}
	if err := e.db.QueryRow(t.Context(), sql, e.config.Slot).Scan(&restart, &target); err != nil {
		t.Fatal(err)
	}
	if target-server < 1<<20 {
		t.Fatalf("the other database wrote %d bytes", target-server)
	}
	runtimetest.Eventually(t, 30*time.Second, func() error {
		// A checkpoint writes what a slot can restart at; it comes by itself, later.
		if _, err := busy.Exec(t.Context(), "UPDATE busy SET s = s WHERE ctid = '(0,1)'; CHECKPOINT"); err != nil {
			return err
		}
		if err := e.db.QueryRow(t.Context(), sql, e.config.Slot).Scan(&restart, &server); err != nil {
			return err
		}
		if restart < target {
			return fmt.Errorf("the slot restarts at %d, from %d, and the log is at %d", restart, before, server)
		}
		return nil
	})
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if !e.truth(t, "SELECT true FROM pg_logical_slot_peek_changes('"+e.config.Slot+"_spy', NULL, NULL) WHERE data LIKE '%ponix_cdc%'") {
			return errors.New("there is no heartbeat")
		}
		return nil
	})
	if all := e.events(t, "organizations", 0); len(all) != 0 {
		t.Errorf("events of nothing: %s", kinds(all))
	}
}
