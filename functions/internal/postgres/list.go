package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/page"
)

// PageRequest is what every request for a list has.
type PageRequest interface {
	GetPageSize() int32
	GetPageToken() string
}

// List runs the statement of a list and returns a page with the token of the
// next. The statement's $1 and $2 are the created_at and id that its rows come
// before, $3 is how many of them it is to return, and then come the filters,
// which are also what the token is good for.
func List[M proto.Message](ctx context.Context, db *pgxpool.Pool, scan pgx.RowToFunc[M], key func(M) page.Key, req PageRequest, rpc, sql string, filters ...string) ([]M, string, error) {
	scope := page.Scope(rpc, filters...)
	after, err := page.Parse(scope, req.GetPageToken())
	if err == nil && strings.ContainsRune(after.ID, 0) { // which PostgreSQL does not take
		err = page.BadToken()
	}
	if err != nil {
		return nil, "", err
	}
	before := pgtype.Timestamptz{Time: after.Time, Valid: true}
	if after.Time.IsZero() { // the first page
		before = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	size := page.Size(req.GetPageSize())
	args := []any{before, after.ID, size + 1}
	for _, f := range filters {
		args = append(args, f)
	}
	all, err := Rows(ctx, db, scan, sql, args...)
	if err != nil {
		return nil, "", err
	}
	items, token := page.Cut(all, size, scope, key)
	return items, token, nil
}
