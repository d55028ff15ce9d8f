package store

import (
	"context"
	"errors"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// broken is a ClickHouse whose answers break off, and the answer.
type broken struct {
	driver.Conn
	driver.Rows
	closed bool
}

func (b *broken) Stats() driver.Stats { return driver.Stats{} }

func (b *broken) Query(context.Context, string, ...any) (driver.Rows, error) { return b, nil }

func (b *broken) Next() bool   { return false }
func (b *broken) Err() error   { return errors.New("broken off") }
func (b *broken) Close() error { b.closed = true; return nil }

// TestListThatBreaksOff is an error, and no list that ends early.
func TestListThatBreaksOff(t *testing.T) {
	t.Parallel()
	b := &broken{}
	got, err := store{db: b}.list(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "d"})
	if err == nil || !b.closed {
		t.Errorf("got %v, %v, and the rows are closed: %v", got, err, b.closed)
	}
}
