package cdc_test

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/xid"

	"ponix/runtime/runtimetest"
)

// todo is the SQL that an error asks for.
var todo = regexp.MustCompile(`has to run ([^:]+): `)

// least is e as a user who may replicate and read the tables.
func (e *env) least(t *testing.T) *env {
	t.Helper()
	role := "role_" + xid.New().String()
	e.exec(t, "CREATE ROLE "+role+" LOGIN REPLICATION PASSWORD 'secret'")
	t.Cleanup(func() {
		e.exec(t, "DROP OWNED BY "+role)
		e.exec(t, "DROP ROLE "+role)
	})
	e.exec(t, "GRANT SELECT ON organizations, end_devices, gateways TO "+role)
	u, err := url.Parse(e.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "secret")
	least := *e
	least.dsn, least.config.RetryDelay = u.String(), 100
	return &least
}

// user is whom the instances connect as.
func (e *env) user(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(e.dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}

// TestHiddenRows holds that rows which a policy hides from the user are not taken for
// deleted: the log has them, and a snapshot would not.
func TestHiddenRows(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.exec(t, "CREATE PUBLICATION "+e.config.Publication+" FOR TABLE organizations, end_devices, gateways")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'seen'), ('p', 'hidden')")
	e.exec(t, "CREATE POLICY p ON organizations USING (name <> 'hidden')")
	e.exec(t, "ALTER TABLE organizations ENABLE ROW LEVEL SECURITY")
	least := e.least(t)
	least.instance(t)
	e.wantError(t, "row-level security")
	if got := e.events(t, "organizations", 0); len(got) > 0 {
		t.Errorf("a part of the rows is published: %s", kinds(got))
	}
	e.exec(t, "ALTER TABLE organizations DISABLE ROW LEVEL SECURITY")
	e.wantEventOf(t, "hidden")
}

// TestLeastPrivilege holds that a user who may replicate and read the tables is enough, and that
// what he may not do about the publication is told as SQL that another can run.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	least := e.least(t)
	least.instance(t)
	for i, c := range []struct{ statement, who string }{
		{"CREATE PUBLICATION", "whoever owns the tables and has CREATE on the database, or a superuser,"}, // ownership alone is not enough
		{"ALTER PUBLICATION", "whoever owns it and the tables, or a superuser,"},
	} {
		runtimetest.Eventually(t, 20*time.Second, func() error {
			st, err := e.status(t)
			if err != nil {
				return err
			}
			sql := todo.FindStringSubmatch(st.LastError)
			if sql == nil || !strings.HasPrefix(sql[1], c.statement) || !strings.Contains(st.LastError, c.who) {
				return errors.New(st.LastError)
			}
			e.exec(t, sql[1])
			return nil
		})
		e.streaming(t)
		e.exec(t, fmt.Sprintf("INSERT INTO organizations (id, name) VALUES ('o%d', 'acme')", i))
		e.wantEventOf(t, fmt.Sprintf("o%d", i))
		e.exec(t, "ALTER PUBLICATION "+e.config.Publication+" DROP TABLE gateways")
	}
}
