package organization_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/functions/internal/functiontest"
	"ponix/functions/internal/page"
	"ponix/functions/organization"
	pb "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
)

func start(t *testing.T) (*functiontest.Env, pb.OrganizationServiceClient) {
	t.Helper()
	e := functiontest.Start(t, func(db *pgxpool.Pool) []runtime.Function { return []runtime.Function{organization.New(db)} })
	return e, pb.NewOrganizationServiceClient(e)
}

func create(t *testing.T, c pb.OrganizationServiceClient, name string) *pb.CreateOrganizationResponse {
	t.Helper()
	resp, err := c.CreateOrganization(t.Context(), &pb.CreateOrganizationRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestLife(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	made := create(t, c, " acme\t")
	if len(made.OrganizationId) != 20 || made.Name != "acme" || made.Status != pb.OrganizationStatus_ORGANIZATION_STATUS_ACTIVE {
		t.Fatalf("made %v", made)
	}
	if at := made.CreatedAt.AsTime(); time.Since(at).Abs() > time.Minute || at.Nanosecond()%1000 != 0 {
		t.Errorf("created at %v", at)
	}
	got, err := c.GetOrganization(t.Context(), &pb.GetOrganizationRequest{OrganizationId: made.OrganizationId})
	if err != nil {
		t.Fatal(err)
	}
	o := got.Organization
	if o.Id != made.OrganizationId || o.Name != "acme" || o.Status != made.Status || o.DeletedAt != nil ||
		!o.CreatedAt.AsTime().Equal(made.CreatedAt.AsTime()) || !o.UpdatedAt.AsTime().Equal(o.CreatedAt.AsTime()) {
		t.Fatalf("made %v, got %v", made, o)
	}
	changed, err := c.UpdateOrganization(t.Context(), &pb.UpdateOrganizationRequest{OrganizationId: o.Id, Name: "\u00a0Ünïcode GmbH "})
	if err != nil {
		t.Fatal(err)
	}
	if n := changed.Organization; n.Name != "Ünïcode GmbH" || !n.UpdatedAt.AsTime().After(o.UpdatedAt.AsTime()) || !n.CreatedAt.AsTime().Equal(o.CreatedAt.AsTime()) {
		t.Fatalf("changed to %v", n)
	}
	deleted, err := c.DeleteOrganization(t.Context(), &pb.DeleteOrganizationRequest{OrganizationId: o.Id})
	if err != nil {
		t.Fatal(err)
	}
	if d := deleted.Organization; d.Status != pb.OrganizationStatus_ORGANIZATION_STATUS_INACTIVE || d.DeletedAt == nil || !d.DeletedAt.AsTime().Equal(d.UpdatedAt.AsTime()) {
		t.Fatalf("deleted %v", d)
	}
	wantNotFound(t, c, o.Id)
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	wantNotFound(t, c, "nobody")
}

func wantNotFound(t *testing.T, c pb.OrganizationServiceClient, id string) {
	t.Helper()
	_, err := c.GetOrganization(t.Context(), &pb.GetOrganizationRequest{OrganizationId: id})
	functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
	_, err = c.UpdateOrganization(t.Context(), &pb.UpdateOrganizationRequest{OrganizationId: id, Name: "x"})
	functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
	_, err = c.DeleteOrganization(t.Context(), &pb.DeleteOrganizationRequest{OrganizationId: id})
	functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
}

func TestNames(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	for _, good := range []string{"x", strings.Repeat("ü", 255), "  " + strings.Repeat("語", 255) + "\n", "'; DROP TABLE organizations; --", "a b"} {
		if got := create(t, c, good); got.Name != strings.TrimSpace(good) {
			t.Errorf("%q became %q", good, got.Name)
		}
	}
	for _, bad := range []string{"", " ", "\t\n\u2003", strings.Repeat("ü", 256), "a\x00b"} {
		_, err := c.CreateOrganization(t.Context(), &pb.CreateOrganizationRequest{Name: bad})
		functiontest.WantInvalid(t, err, "name")
		_, err = c.UpdateOrganization(t.Context(), &pb.UpdateOrganizationRequest{Name: bad, OrganizationId: "no id"})
		functiontest.WantInvalid(t, err, "organization_id", "name")
	}
	create(t, c, "twice")
	create(t, c, "twice") // names need not be unique
}

func list(t *testing.T, c pb.OrganizationServiceClient) functiontest.List {
	return func(size int32, token string) (ids []string, next string, err error) {
		resp, err := c.ListOrganizations(t.Context(), &pb.ListOrganizationsRequest{PageSize: size, PageToken: token})
		for _, o := range resp.GetOrganizations() {
			ids = append(ids, o.Id)
		}
		return ids, resp.GetNextPageToken(), err
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	e.DeleteOrganization(t, e.Organization(t))
	foreign := page.Token("/ponix.end_device.v1.EndDeviceService/ListEndDevices", page.Key{Time: time.Now(), ID: "x"})
	functiontest.Pages(t, list(t, c), func() string {
		id := create(t, c, "acme").OrganizationId
		if _, err := c.UpdateOrganization(t.Context(), &pb.UpdateOrganizationRequest{OrganizationId: id, Name: "acme"}); err != nil { // which moves nothing
			t.Fatal(err)
		}
		return id
	}, foreign)
	forged := page.Token(page.Scope(pb.OrganizationService_ListOrganizations_FullMethodName), page.Key{Time: time.Now(), ID: "a\x00b"})
	_, err := c.ListOrganizations(t.Context(), &pb.ListOrganizationsRequest{PageToken: forged})
	functiontest.WantInvalid(t, err, "page_token")
}

func TestListSizes(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	// All at the same time, so that the id decides.
	e.Exec(t, "INSERT INTO organizations (id, name) SELECT 'o' || n, 'acme' FROM generate_series(1, 1002) AS n")
	functiontest.Sizes(t, list(t, c))
}

func TestLongNamesFitIntoAReply(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	e.Exec(t, "INSERT INTO organizations (id, name) SELECT 'o' || n, repeat('😀', 255) FROM generate_series(1, 1000) AS n")
	l := list(t, c)
	all := 0
	for token := ""; ; {
		ids, next, err := l(1000, token)
		if err != nil {
			t.Fatal(err)
		}
		all += len(ids)
		if token = next; token == "" {
			break
		}
	}
	if all != 1000 {
		t.Errorf("%d of 1000", all)
	}
}

// Of many deletes at a time one succeeds.
func TestDeleteOnce(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	id := create(t, c, "acme").OrganizationId
	var done atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch _, err := c.DeleteOrganization(t.Context(), &pb.DeleteOrganizationRequest{OrganizationId: id}); status.Code(err) {
			case codes.OK:
				done.Add(1)
			case codes.NotFound:
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if done.Load() != 1 {
		t.Errorf("%d deletes succeeded", done.Load())
	}
}

func TestByHand(t *testing.T) {
	t.Parallel()
	e, _ := start(t)
	subject := wire.Subject(pb.OrganizationService_CreateOrganization_FullMethodName)
	reply, err := e.NATS.Request(subject, []byte(`{"name":" acme "}`), 10*time.Second)
	if err != nil || !strings.HasPrefix(string(reply.Data), "{") || !strings.Contains(string(reply.Data), `"acme"`) {
		t.Fatalf("got %s, %v", reply.Data, err)
	}
	reply, err = e.NATS.Request(subject, []byte(`{"name":" "}`), 10*time.Second)
	if err != nil || reply.Header.Get("Nats-Service-Error-Code") != "3" || !strings.Contains(string(reply.Data), "fieldViolations") {
		t.Fatalf("got %v %s, %v", reply.Header, reply.Data, err)
	}
}

// What goes wrong inside is nobody's business.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	e.Exec(t, "ALTER TABLE organizations RENAME TO secret")
	_, err := c.CreateOrganization(t.Context(), &pb.CreateOrganizationRequest{Name: "acme"})
	if st := status.Convert(err); st.Code() != codes.Internal || st.Message() != "internal error" || len(st.Details()) != 0 {
		t.Errorf("got %v", err)
	}
	e.DB.Close()
	_, err = c.CreateOrganization(t.Context(), &pb.CreateOrganizationRequest{Name: "acme"})
	functiontest.WantError(t, err, codes.Unavailable, "POSTGRES_UNAVAILABLE")
	if strings.Contains(err.Error(), "pool") {
		t.Errorf("got %v", err)
	}
	_, err = c.DeleteOrganization(t.Context(), &pb.DeleteOrganizationRequest{OrganizationId: "o"}) // which has a transaction
	functiontest.WantError(t, err, codes.Unavailable, "POSTGRES_UNAVAILABLE")
	if strings.Contains(err.Error(), "pool") {
		t.Errorf("got %v", err)
	}
}

// TestGatewaysEndWithTheirOrganization holds that those of an organization are deleted
// with it, and no others: one that was deleted before stays as it was.
func TestGatewaysEndWithTheirOrganization(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org, other := e.Organization(t), e.Organization(t)
	for _, o := range []string{org, other} {
		e.Exec(t, `INSERT INTO gateways (id, organization_id, name, status, type, config)
			VALUES ('g-' || $1, $1, 'roof', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_EMQX', '{"broker_url": "mqtt://h"}')`, o)
	}
	e.Exec(t, `INSERT INTO gateways (id, organization_id, name, status, type, config, deleted_at)
		VALUES ('before', $1, 'roof', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_EMQX', '{"broker_url": "mqtt://h"}', 'epoch')`, org)
	if _, err := c.DeleteOrganization(t.Context(), &pb.DeleteOrganizationRequest{OrganizationId: org}); err != nil {
		t.Fatal(err)
	}
	var same bool
	if err := e.DB.QueryRow(t.Context(), "SELECT deleted_at = 'epoch' FROM gateways WHERE id = 'before'").Scan(&same); err != nil || !same {
		t.Errorf("one that was deleted before is deleted again: %v", err)
	}
	if err := e.DB.QueryRow(t.Context(), `SELECT bool_and((g.organization_id = $1) = (g.deleted_at IS NOT NULL)) AND bool_and(g.deleted_at IS NOT DISTINCT FROM o.deleted_at)
		FROM gateways g JOIN organizations o ON o.id = g.organization_id WHERE g.id <> 'before'`, org).Scan(&same); err != nil || !same {
		t.Errorf("other gateways, or at other times: %v, %v", same, err)
	}
}

// TestGatewayDuringDeletion makes a gateway while its organization is deleted, also where
// transactions of the database have another isolation by default.
func TestGatewayDuringDeletion(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			gatewayDuringDeletion(t, isolation)
		})
	}
}

func gatewayDuringDeletion(t *testing.T, isolation string) {
	e, c := start(t)
	e.Exec(t, fmt.Sprintf("DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET default_transaction_isolation = %%L', current_database(), '%s'); END $$", isolation))
	e.DB.Reset() // connections have what was so when they were made
	o := e.Organization(t)
	ctx := context.WithoutCancel(t.Context())
	tx, err := e.DB.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it is committed
	// createSQL of functions/gateway
	if _, err := tx.Exec(ctx, `INSERT INTO gateways (id, organization_id, name, status, type, config)
SELECT 'g', o.id, 'n', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_EMQX', '{"broker_url": "mqtt://h"}' FROM organizations AS o
WHERE o.id = $1 AND o.deleted_at IS NULL
FOR SHARE`, o); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.DeleteOrganization(ctx, &pb.DeleteOrganizationRequest{OrganizationId: o})
		done <- err
	}()
	e.SomebodyWaits(t)
	if err := errors.Join(tx.Commit(ctx), <-done); err != nil {
		t.Fatal(err)
	}
	var gone bool
	if err := e.DB.QueryRow(ctx, "SELECT deleted_at IS NOT NULL FROM gateways WHERE id = 'g'").Scan(&gone); err != nil || !gone {
		t.Errorf("the gateway of the deleted organization is there: %v, %v", gone, err)
	}
}
