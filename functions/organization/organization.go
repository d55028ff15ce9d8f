// Package organization manages tenants: the rows that every device and gateway
// hangs on.
package organization

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/xid"

	"ponix/functions/internal/page"
	"ponix/functions/internal/postgres"
	"ponix/functions/internal/row"
	pb "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
)

// New returns the function. It answers every method of OrganizationService.
func New(db *pgxpool.Pool) runtime.Function {
	o := organizations{db}
	return runtime.Func("organization",
		runtime.Endpoint(pb.OrganizationService_CreateOrganization_FullMethodName, o.create),
		runtime.Endpoint(pb.OrganizationService_GetOrganization_FullMethodName, o.get),
		runtime.Endpoint(pb.OrganizationService_UpdateOrganization_FullMethodName, o.update),
		runtime.Endpoint(pb.OrganizationService_DeleteOrganization_FullMethodName, o.delete),
		runtime.Endpoint(pb.OrganizationService_ListOrganizations_FullMethodName, o.list,
			func(r *pb.ListOrganizationsRequest) []*runtime.Violation {
				return page.Check(page.Scope(pb.OrganizationService_ListOrganizations_FullMethodName), r.PageToken)
			})).
		Described("organizations, the tenants")
}

type organizations struct{ db *pgxpool.Pool }

// row runs a statement about one organization.
func (o organizations) row(ctx context.Context, sql, id string, args ...any) (*pb.Organization, error) {
	return postgres.Row(ctx, o.db, scan, runtime.UnknownOrganization(id), sql, append([]any{id}, args...)...)
}

func scan(r pgx.CollectableRow) (*pb.Organization, error) {
	o := &pb.Organization{}
	err := r.Scan(&o.Id, &o.Name, postgres.Timestamp(&o.CreatedAt), postgres.Timestamp(&o.UpdatedAt), postgres.Timestamp(&o.DeletedAt))
	o.Status = row.OrganizationStatus(o.DeletedAt)
	return o, err
}

func (o organizations) create(ctx context.Context, req *pb.CreateOrganizationRequest) (*pb.CreateOrganizationResponse, error) {
	org, err := o.row(ctx, createSQL, xid.New().String(), strings.TrimSpace(req.Name))
	if err != nil {
		return nil, err
	}
	return &pb.CreateOrganizationResponse{OrganizationId: org.Id, Name: org.Name, Status: org.Status, CreatedAt: org.CreatedAt}, nil
}

func (o organizations) get(ctx context.Context, req *pb.GetOrganizationRequest) (*pb.GetOrganizationResponse, error) {
	org, err := o.row(ctx, getSQL, req.OrganizationId)
	return &pb.GetOrganizationResponse{Organization: org}, err
}

func (o organizations) update(ctx context.Context, req *pb.UpdateOrganizationRequest) (*pb.UpdateOrganizationResponse, error) {
	org, err := o.row(ctx, updateSQL, req.OrganizationId, strings.TrimSpace(req.Name))
	return &pb.UpdateOrganizationResponse{Organization: org}, err
}

func (o organizations) delete(ctx context.Context, req *pb.DeleteOrganizationRequest) (*pb.DeleteOrganizationResponse, error) {
	var org *pb.Organization
	// A user may have another isolation by default, with which the second statement sees no more than the first.
	err := pgx.BeginTxFunc(ctx, o.db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockSQL, req.OrganizationId); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, deleteSQL, req.OrganizationId) // CollectOneRow returns its error
		var err error
		org, err = pgx.CollectOneRow(rows, scan)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, runtime.UnknownOrganization(req.OrganizationId)
	}
	return &pb.DeleteOrganizationResponse{Organization: org}, postgres.Error(err)
}

func (o organizations) list(ctx context.Context, req *pb.ListOrganizationsRequest) (*pb.ListOrganizationsResponse, error) {
	all, next, err := postgres.List(ctx, o.db, scan, key, req, pb.OrganizationService_ListOrganizations_FullMethodName, listSQL)
	return &pb.ListOrganizationsResponse{Organizations: all, NextPageToken: next}, err
}

func key(o *pb.Organization) page.Key { return page.Key{Time: o.CreatedAt.AsTime(), ID: o.Id} }
