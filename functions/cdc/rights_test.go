package cdc_test

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/rs/xid"

	"ponix/runtime/runtimetest"
)

// todo is the SQL that an error asks for.
var todo = regexp.MustCompile(`has to run ([^:]+): `)

// TestLeastPrivilege holds that a user who may replicate and read the tables is enough, and that
// what he may not do about the publication is told as SQL that another can run.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
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
	least.instance(t)
	for i, statement := range []string{"CREATE PUBLICATION", "ALTER PUBLICATION"} {
		runtimetest.Eventually(t, 20*time.Second, func() error {
			st, err := e.status(t)
			if err != nil {
				return err
			}
			sql := todo.FindStringSubmatch(st.LastError)
			if sql == nil || sql[1][:len(statement)] != statement {
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
