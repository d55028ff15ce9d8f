package cdc_test

import (
	"testing"
	"time"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

func main(m *testing.M) { runtimetest.Main(m) }

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
