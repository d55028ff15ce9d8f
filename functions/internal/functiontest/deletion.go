package functiontest

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"ponix/runtime/runtimetest"
)

// DuringDeletion calls create, which makes something in the organization, while
// a transaction that deletes the organization is open: create has to wait, and
// to find the organization only where the deletion is rolled back.
func DuringDeletion(t *testing.T, e *Env, organization string, commit bool, create func() error) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	tx, err := e.DB.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // ended already where all went well
	if _, err := tx.Exec(ctx, "UPDATE organizations SET deleted_at = now() WHERE id = $1", organization); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- create() }()
	e.SomebodyWaits(t)
	if !commit {
		if err := errors.Join(tx.Rollback(ctx), <-done); err != nil {
			t.Errorf("the deletion was rolled back: %v", err)
		}
		return
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	WantError(t, <-done, codes.NotFound, "ORGANIZATION_NOT_FOUND")
}

// SomebodyWaits waits until a statement waits for a lock.
func (e *Env) SomebodyWaits(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	runtimetest.Eventually(t, 10*time.Second, func() error {
		var waiting bool
		const sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
		if err := e.DB.QueryRow(ctx, sql).Scan(&waiting); err != nil {
			return err
		}
		if !waiting {
			return errors.New("nobody waits")
		}
		return nil
	})
}
