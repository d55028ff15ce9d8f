package cdc_test

import "testing"

// TestSnapshotThatCannotEnd holds that nothing of a snapshot is published which stops at a later
// table: each attempt would publish all that comes before it again.
func TestSnapshotThatCannotEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ stop, told, mend string }{
		"a table that may not be read": {"REVOKE SELECT ON gateways FROM ", "permission denied for table gateways", "GRANT SELECT ON gateways TO "},
		"a row that no message holds": {
			"INSERT INTO gateways (id, organization_id, name, status, type, config) VALUES ('g', 'o', 'gw', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_OF_TOMORROW', '{}') --",
			"GATEWAY_TYPE_OF_TOMORROW", "DELETE FROM gateways --",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.exec(t, "CREATE PUBLICATION "+e.config.Publication+" FOR TABLE organizations, end_devices, gateways")
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
			least := e.least(t)
			e.exec(t, test.stop+least.user(t))
			least.instance(t)
			e.wantError(t, test.told)
			if got := e.events(t, "organizations", 0); len(got) > 0 {
				t.Errorf("published already: %s", kinds(got))
			}
			e.exec(t, test.mend+least.user(t))
			e.streaming(t)
			if got := kinds(e.events(t, "organizations", 1)); got != "organizations.create/snapshot" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestSchemaThatIsRefused holds that a user who may not use the tables' schema is not told of
// migrations alone.
func TestSchemaThatIsRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
	least := e.least(t)
	least.instance(t)
	e.wantError(t, "lacks USAGE")
}

// TestOldRowsAreNotWhole holds that a table whose log lacks the old rows is not followed, until
// that is mended: its deletions would be of nothing.
func TestOldRowsAreNotWhole(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 100
	e.exec(t, "ALTER TABLE gateways REPLICA IDENTITY DEFAULT")
	e.instance(t)
	e.wantError(t, "gateways must have REPLICA IDENTITY FULL")
	e.exec(t, "ALTER TABLE gateways REPLICA IDENTITY FULL")
	e.streaming(t)
}
