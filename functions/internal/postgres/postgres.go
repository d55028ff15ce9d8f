// Package postgres is what the functions that keep rows in PostgreSQL share:
// statements whose rows become messages, and whose errors become those of the
// wire.
package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Row runs a statement that returns one row. Where there is none, the error is
// missing.
func Row[T any](ctx context.Context, db *pgxpool.Pool, scan pgx.RowToFunc[T], missing error, sql string, args ...any) (T, error) {
	rows, _ := db.Query(ctx, sql, args...) // CollectOneRow returns its error
	v, err := pgx.CollectOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, missing
	}
	return v, Error(err)
}

// Rows runs a statement that returns any number of rows.
func Rows[T any](ctx context.Context, db *pgxpool.Pool, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, _ := db.Query(ctx, sql, args...) // CollectRows returns its error
	all, err := pgx.CollectRows(rows, scan)
	return all, Error(err)
}

// Timestamp is where a row's timestamptz is scanned to: a NULL leaves it unset.
func Timestamp(to **timestamppb.Timestamp) pgtype.TimestamptzScanner { return timestamp{to} }

type timestamp struct{ to **timestamppb.Timestamp }

func (t timestamp) ScanTimestamptz(v pgtype.Timestamptz) error {
	*t.to = nil
	if v.Valid {
		*t.to = timestamppb.New(v.Time)
	}
	return nil
}
