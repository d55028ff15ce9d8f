package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"ponix/runtime"
)

// UnknownOrganization is what callers get for an organization that does not
// exist or is deleted.
func UnknownOrganization(id string) error {
	return runtime.Error(codes.NotFound, "ORGANIZATION_NOT_FOUND", "organization %q does not exist", id)
}

// HasOrganization returns an error unless the organization exists and is not
// deleted: what tells an empty list from one that cannot be.
func HasOrganization(ctx context.Context, db *pgxpool.Pool, id string) error {
	_, err := Row(ctx, db, pgx.RowTo[bool], UnknownOrganization(id),
		"SELECT true FROM organizations WHERE id = $1 AND deleted_at IS NULL", id)
	return err
}
