package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/internal/postgres"
	cdcv1 "ponix/proto/ponix/cdc/v1"
	"ponix/runtime"
)

// statusSQL returns the process that holds the lock, 0 for none, where the slot
// is, where the log is, and the bytes between.
const statusSQL = `
SELECT coalesce(%s, 0),
       coalesce((SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1), '0/0')::text,
       pg_current_wal_lsn()::text,
       coalesce((SELECT pg_current_wal_lsn() - confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1), 0)::bigint`

// standing is what PostgreSQL knows.
type standing struct {
	pid               uint32
	confirmed, server string
	lag               int64
}

// status answers in any instance: PostgreSQL tells who is the owner and where the
// slot is, the state what the owner last wrote. While PostgreSQL is away that is
// all there is, and the reason.
func (c *capture) status(ctx context.Context, _ *cdcv1.GetCdcStatusRequest) (*cdcv1.GetCdcStatusResponse, error) {
	st, err := c.keeper.load(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.keeper.lastFailure(ctx)
	if err != nil {
		return nil, err
	}
	resp := &cdcv1.GetCdcStatusResponse{SlotName: c.Slot, ConfirmedLsn: st.Confirmed.String(), EventsPublished: st.Events}
	if !st.LastEvent.IsZero() {
		resp.LastEventAt = timestamppb.New(st.LastEvent)
	}
	if f.Text != "" {
		resp.LastError = fmt.Sprintf("%s %s: %s", f.At.Format(time.RFC3339), f.Instance, f.Text)
	}
	now, err := postgres.Row(ctx, c.db, func(r pgx.CollectableRow) (s standing, err error) {
		return s, r.Scan(&s.pid, &s.confirmed, &s.server, &s.lag)
	}, errors.New("no answer"), fmt.Sprintf(statusSQL, holderSQL(c.Slot)), c.Slot)
	if err != nil { // what the owner has met of it says more
		resp.LastError = strings.TrimSuffix(fmt.Sprintf("%s %s; %s", time.Now().UTC().Format(time.RFC3339), runtime.PublicText(err), resp.LastError), "; ")
	}
	if err == nil {
		resp.ConfirmedLsn, resp.ServerLsn, resp.LagBytes = now.confirmed, now.server, uint64(max(0, now.lag))
		resp.Active = now.pid != 0
	}
	resp.LagSeconds = lagSeconds(st.Waiting) // whoever works on it
	switch {
	case resp.Active && now.pid == st.PID:
		resp.Owner = st.Owner
	case resp.Active: // it has not got so far as to say who it is
	default:
		resp.LagSeconds = max(resp.LagSeconds, lagSeconds(st.Written))
	}
	return resp, nil
}
