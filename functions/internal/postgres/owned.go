package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/page"
	"ponix/runtime"
)

// OwnedRequest is what every request for a list of an organization's has.
type OwnedRequest interface {
	PageRequest
	GetOrganizationId() string
}

// ListOwned is [List] filtered by the organization, $4, which must exist. The
// statement returns nothing for a deleted one.
func ListOwned[M proto.Message](ctx context.Context, db *pgxpool.Pool, scan pgx.RowToFunc[M], key func(M) page.Key, req OwnedRequest, rpc, sql string) ([]M, string, error) {
	id := req.GetOrganizationId()
	items, token, err := List(ctx, db, scan, key, req, rpc, sql, id)
	if err == nil && len(items) == 0 {
		_, err = Row(ctx, db, pgx.RowTo[bool], runtime.UnknownOrganization(id), "SELECT true FROM organizations WHERE id = $1 AND deleted_at IS NULL", id)
	}
	return items, token, err
}
