package cdc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// What there is comes first, then every change, each as what it is.
func TestSnapshotAndChanges(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o1', 'before')")
	began := time.Now()
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o2', 'acme')")
	e.exec(t, "UPDATE organizations SET name = 'ACME' WHERE id = 'o2'")
	e.exec(t, "UPDATE organizations SET deleted_at = now() WHERE id = 'o2'")
	e.exec(t, "DELETE FROM organizations WHERE id = 'o2'")
	all := e.events(t, "organizations", 5)
	const want = "organizations.create/snapshot organizations.create/insert organizations.update/update organizations.update/update organizations.delete/delete"
	if kinds(all) != want {
		t.Fatalf("got %s, want %s", kinds(all), want)
	}
	const active, inactive = organizationv1.OrganizationStatus_ORGANIZATION_STATUS_ACTIVE, organizationv1.OrganizationStatus_ORGANIZATION_STATUS_INACTIVE
	ids := map[string]bool{}
	for i, want := range []struct {
		id, name string
		status   organizationv1.OrganizationStatus
	}{{"o1", "before", active}, {"o2", "acme", active}, {"o2", "ACME", active}, {"o2", "ACME", inactive}, {"o2", "ACME", inactive}} {
		o := decode(t, all[i], &organizationv1.Organization{})
		if o.Id != want.id || o.Name != want.name || o.Status != want.status || (o.DeletedAt != nil) != (want.status == inactive) || o.CreatedAt == nil || o.UpdatedAt == nil {
			t.Errorf("event %d is %v, want %v", i, o, want)
		}
		if all[i].lsn == "" || all[i].committed.Before(began) || time.Since(all[i].committed) > time.Minute || ids[all[i].id] {
			t.Errorf("event %d has the headers %+v", i, all[i])
		}
		ids[all[i].id] = true
	}
	runtimetest.Eventually(t, 5*time.Second, func() error {
		s, err := e.status(t)
		if err != nil || s.EventsPublished != 5 || !s.Active || s.LastEventAt == nil || s.LastError != "" {
			t.Logf("%v %v", s, err)
			return errNotYet
		}
		return nil
	})
}

// A column that is added, and one that is dropped, while the tail runs.
func TestColumnIsAdded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	owner := e.streaming(t).Owner
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	insert := func(id string) {
		e.exec(t, "INSERT INTO gateways (id, organization_id, name, status, type, config) VALUES ($1, 'o', 'gw', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_EMQX', '{\"broker_url\":\"mqtt://h\"}')", id)
	}
	insert("g1")
	e.exec(t, "ALTER TABLE gateways ADD COLUMN region text NOT NULL DEFAULT 'eu'")
	insert("g2")
	e.exec(t, "UPDATE gateways SET region = 'us', name = 'moved'")
	e.exec(t, "ALTER TABLE gateways DROP COLUMN region")
	insert("g3")
	all := e.events(t, "gateways", 5)
	const want = "gateways.create/insert gateways.create/insert gateways.update/update gateways.update/update gateways.create/insert"
	if kinds(all) != want {
		t.Errorf("got %s, want %s", kinds(all), want)
	}
	if g := decode(t, all[3], &gatewayv1.Gateway{}); g.Name != "moved" || g.GetEmqxConfig().GetBrokerUrl() != "mqtt://h" {
		t.Errorf("got %v", g)
	}
	if s, err := e.status(t); err != nil || s.Owner != owner || s.LastError != "" {
		t.Errorf("it did not just go on: %v, %v", s, err)
	}
}

// Columns of somebody else's, of whatever type, even one that has no binary format, are in
// nobody's way: neither in a snapshot nor in the log.
func TestColumnsOfOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "ALTER TABLE organizations ADD COLUMN rights aclitem DEFAULT makeaclitem(0, 10, 'SELECT', false), ADD COLUMN numbers int[] DEFAULT '{1}'")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o1', 'of the snapshot')")
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o2', 'of the log')")
	e.exec(t, "UPDATE organizations SET name = 'changed' WHERE id = 'o2'")
	var got []string
	for _, ev := range e.events(t, "organizations", 3) {
		got = append(got, decode(t, ev, &organizationv1.Organization{}).Name)
	}
	if want := []string{"of the snapshot", "of the log", "changed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A column of ours that was dropped, or has got a type that would be read as something else,
// is told of by its name, in a snapshot as in the log; one with another kind of text is read.
func TestColumnsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const toNumbers = "ALTER TABLE organizations ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN created_at TYPE bigint USING 0"
	const refused = "column created_at of table organizations has the type int8, and must have timestamptz"
	for name, c := range map[string]struct{ before, after, want string }{
		"dropped before the snapshot": {"ALTER TABLE end_devices DROP COLUMN payload_conversion", "", `column "payload_conversion" does not exist`},
		"numbers in the snapshot":     {toNumbers, "", refused},
		"numbers in the log":          {"", toNumbers, refused},
		"another kind of text":        {"", "ALTER TABLE organizations ALTER COLUMN name TYPE varchar(300)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o1', 'of the snapshot')")
			if c.before != "" {
				e.exec(t, c.before)
			}
			e.instance(t)
			if c.after != "" {
				e.streaming(t)
				e.exec(t, c.after)
				e.exec(t, "UPDATE organizations SET name = 'of the log'")
			}
			if c.want == "" {
				e.wantEventOf(t, "of the log")
				return
			}
			runtimetest.Eventually(t, 20*time.Second, func() error {
				s, err := e.status(t)
				if err != nil {
					return err
				}
				if !strings.Contains(s.LastError, c.want) {
					return fmt.Errorf("the last error is %q", s.LastError)
				}
				return nil
			})
		})
	}
}

// A value that is kept out of line and not changed is not in the log's new row.
func TestUnchangedTOAST(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "ALTER TABLE end_devices ALTER COLUMN payload_conversion SET STORAGE EXTERNAL")
	e.instance(t)
	e.streaming(t)
	long := strings.Repeat("x", 100_000)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	e.exec(t, "INSERT INTO end_devices (id, organization_id, name, payload_conversion) VALUES ('d', 'o', 'a', $1)", long)
	e.exec(t, "UPDATE end_devices SET name = 'b'")
	e.exec(t, "DELETE FROM end_devices")
	for i, ev := range e.events(t, "end_devices", 3) {
		d := decode(t, ev, &enddevicev1.EndDevice{})
		if want := []string{"a", "b", "b"}[i]; d.Name != want || d.PayloadConversion != long {
			t.Errorf("event %d has the name %q and %d bytes", i, d.Name, len(d.PayloadConversion))
		}
	}
}

// TRUNCATE tells no rows: an empty message stands for all of them.
func TestTruncate(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	e.exec(t, "TRUNCATE organizations CASCADE")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	all := e.events(t, "organizations", 3)
	if want := "organizations.create/insert organizations.delete/truncate organizations.create/insert"; kinds(all) != want {
		t.Errorf("got %s, want %s", kinds(all), want)
	}
	if len(all[1].data) != 0 {
		t.Errorf("the message is not empty: %q", all[1].data)
	}
	if got := kinds(append(e.events(t, "gateways", 1), e.events(t, "end_devices", 1)...)); got != "gateways.delete/truncate end_devices.delete/truncate" {
		t.Errorf("of the tables that it took with it: %s", got)
	}
}

// A transaction that does not fit into PostgreSQL's memory, of several tables.
func TestLargeTransaction(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	e.streaming(t)
	const n = 20_000
	e.exec(t, fmt.Sprintf(`DO $$ BEGIN
		INSERT INTO organizations (id, name) VALUES ('o', '0');
		FOR i IN 1..%d LOOP
			INSERT INTO end_devices (id, organization_id, name, payload_conversion) VALUES (i, 'o', i, repeat('x', 1000));
		END LOOP;
		UPDATE organizations SET name = '1';
	END $$`, n))
	all := e.events(t, "end_devices", n)
	for i, ev := range all {
		if name := decode(t, ev, &enddevicev1.EndDevice{}).Name; number(t, name) != i+1 || ev.lsn != all[0].lsn {
			t.Fatalf("event %d is that of row %s, at %s", i, name, ev.lsn)
		}
	}
	if got := e.events(t, "organizations", 2); len(got) != 2 || len(all) != n || got[1].lsn != all[0].lsn {
		t.Errorf("%d devices, %s", len(all), kinds(got))
	}
}

// TestAnotherID gives a row another id, by SQL: under its old one it is deleted, or who
// follows the events would keep it.
func TestAnotherID(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	e.exec(t, `INSERT INTO gateways (id, organization_id, name, status, type, config) VALUES ('old', 'o', 'gw', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_EMQX', '{"broker_url":"mqtt://h"}')`)
	e.exec(t, "UPDATE gateways SET id = 'new'")
	all := e.events(t, "gateways", 3)
	if want := "gateways.create/insert gateways.delete/update gateways.update/update"; kinds(all) != want {
		t.Fatalf("got %s, want %s", kinds(all), want)
	}
	if g := decode(t, all[1], &gatewayv1.Gateway{}); g.GatewayId != "old" {
		t.Errorf("%s is deleted", g.GatewayId)
	}
}
