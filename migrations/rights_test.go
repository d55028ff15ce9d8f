package migrations

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ponix/runtime/runtimetest"
)

// TestUserWithoutRights holds that a user who may not migrate is told who may, and what a look at
// the migrations takes.
func TestUserWithoutRights(t *testing.T) {
	t.Parallel()
	dsn := runtimetest.Postgres(t)
	must(t, openPostgres(t, dsn).Up)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	user := "reader_" + conn.Config().Database
	exec("CREATE USER " + user + " PASSWORD 'x'")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, "x")
	d := openPostgres(t, u.String())
	_, up := d.Up(t.Context())
	_, status := d.Status(t.Context())
	for what, err := range map[string]error{"up": up, "status": status} {
		if err == nil || !strings.HasPrefix(err.Error(), "PostgreSQL: ") || !strings.Contains(err.Error(), "must be the user that owns the tables") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	exec("GRANT SELECT ON goose_db_version TO " + user)
	if _, err := d.Status(t.Context()); err != nil {
		t.Error(err)
	}
	exec("DROP OWNED BY " + user)
	exec("DROP USER " + user)
}
