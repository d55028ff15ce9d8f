package cdc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// slotSQL describes a slot. What tells of an invalidated one has different names
// in the versions of PostgreSQL, and before 17 none has failover.
const slotSQL = `
SELECT coalesce(plugin = 'pgoutput' AND database = current_database(), false),
       coalesce(confirmed_flush_lsn, '0/0'),
       CASE WHEN wal_status = 'lost' OR restart_lsn IS NULL OR to_jsonb(s) ->> 'conflicting' = 'true' OR to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL
            THEN 'it was invalidated: ' || coalesce(to_jsonb(s) ->> 'invalidation_reason', 'wal_removed') ELSE '' END,
       coalesce(to_jsonb(s) ->> 'failover' = 'false', false)
FROM pg_replication_slots AS s WHERE slot_name = %s`

// slot is what PostgreSQL has of that name.
type slot struct {
	exists    bool
	ours      bool
	confirmed pglogrepl.LSN
	broken    string // why it cannot be read any more
	local     bool   // standbys that synchronize slots do not have it, and could
}

func (s *session) slot(ctx context.Context, name string) (slot, error) {
	rows, err := s.rows(ctx, fmt.Sprintf(slotSQL, literal(name)))
	if err != nil || len(rows) == 0 {
		return slot{}, err
	}
	confirmed, err := pglogrepl.ParseLSN(string(rows[0][1]))
	return slot{true, string(rows[0][0]) == "t", confirmed, string(rows[0][2]), string(rows[0][3]) == "t"}, err
}

// gap is why the slot cannot be trusted to have every change since what was
// published last; empty where it can.
func (s slot) gap(st *state, system string, log timelines, end pglogrepl.LSN) string {
	switch {
	case !s.exists && st.revision == 0:
		return "there is none yet"
	case !s.exists:
		return "it is gone"
	case s.broken != "":
		return s.broken
	case st.Generation == "":
		return "nothing is known of what was published from it"
	case st.System != system:
		return "it belongs to another PostgreSQL cluster than before"
	case !st.Complete:
		return "its snapshot was not finished"
	case end < st.Confirmed: // a position does not say any more which change it is of
		return fmt.Sprintf("PostgreSQL's log ends at %s, and what came before %s was published: it was put back to an earlier state", end, st.Confirmed)
	case st.Timeline != "" && st.Confirmed > max(log.until(st.Timeline), s.confirmed): // however far it has got on this one
		return fmt.Sprintf("it is at %s on another timeline, and what came before %s was published: PostgreSQL may have lost the end of its log", s.confirmed, st.Confirmed)
	case s.confirmed > st.Confirmed:
		return fmt.Sprintf("it is at %s, and only what came before %s is known to be published", s.confirmed, st.Confirmed)
	}
	return ""
}

// unreadSQL lists other slots of this kind that nobody reads, and the bytes of the log that
// PostgreSQL keeps for each.
const unreadSQL = `
SELECT slot_name, (pg_current_wal_lsn() - restart_lsn)::bigint::text FROM pg_replication_slots
WHERE plugin = 'pgoutput' AND database = current_database() AND NOT active AND restart_lsn IS NOT NULL AND slot_name <> %s`

// warnOfUnread tells of slots that an earlier PONIX_CDC_SLOT_NAME may have left:
// PostgreSQL keeps its log for them until its disk is full. The slot is read, whether or
// not that can be looked at.
func (o *owner) warnOfUnread(ctx context.Context) {
	rows, err := o.rows(ctx, fmt.Sprintf(unreadSQL, literal(o.Slot)))
	if err != nil {
		o.instance.Logger().Warn("other slots were not looked at", "error", err)
	}
	for _, row := range rows {
		o.instance.Logger().Warn("nobody reads another slot of this database, and PostgreSQL keeps its log for it; if it is left from an earlier PONIX_CDC_SLOT_NAME, drop it",
			"slot", string(row[0]), "bytes", string(row[1]), "sql", "SELECT pg_drop_replication_slot("+literal(string(row[0]))+")")
	}
}

// identify returns the id of the PostgreSQL cluster and of its timeline, and where its
// log ends.
func (s *session) identify(ctx context.Context) (system, timeline string, end pglogrepl.LSN, err error) {
	ctx, cancel := unlessSilent(ctx)
	defer cancel()
	r, err := pglogrepl.IdentifySystem(ctx, s.conn)
	if err != nil {
		err = fmt.Errorf("IDENTIFY_SYSTEM: %w", because(ctx, err))
	}
	return r.SystemID, strconv.Itoa(int(r.Timeline)), r.XLogPos, err
}

// create makes the slot. The transaction that is open on the session then sees
// the tables exactly as they are where the slot begins. Standbys that synchronize slots,
// which PostgreSQL can from version 17 on, have it, too.
func (s *session) create(ctx context.Context, name string) (pglogrepl.LSN, error) {
	options := "(SNAPSHOT 'use')"
	if s.version() >= 17 {
		options = "(SNAPSHOT 'use', FAILOVER true)"
	}
	r, err := pglogrepl.CreateReplicationSlot(ctx, s.conn, name, "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Mode: pglogrepl.LogicalReplication, SnapshotAction: options,
	})
	if err != nil {
		return 0, fmt.Errorf("create slot %s: %w", name, err)
	}
	return pglogrepl.ParseLSN(r.ConsistentPoint)
}

// version is PostgreSQL's major version; 0 where it does not say it.
func (s *session) version() int {
	major, _, _ := strings.Cut(s.conn.ParameterStatus("server_version"), ".")
	n, _ := strconv.Atoi(major) // "18beta1" is 0, which has what all have
	return n
}

// share gives the slot what create does, where it was made without, as by an earlier
// version. It is read, whether or not that can be done.
func (o *owner) share(ctx context.Context, s slot) {
	if !s.local {
		return
	}
	log, command := o.instance.Logger().With("slot", o.Slot), "ALTER_REPLICATION_SLOT "+o.Slot+" (FAILOVER true)"
	err := whenFree(ctx, func() error {
		used, err := o.truth(ctx, "SELECT active FROM pg_replication_slots WHERE slot_name = "+literal(o.Slot))
		if used { // which other commands answer, while this one waits, however long
			return &pgconn.PgError{Severity: "ERROR", Code: inUse, Message: "the slot is in use"}
		}
		if err == nil {
			_, err = o.rows(ctx, command)
		}
		return err
	})
	if err != nil {
		log.Warn("standbys that synchronize slots cannot have the slot yet, and one that is promoted needs a snapshot; the next start tries again, or run the command by psql 'dbname=... replication=database' while nobody reads the slot", "command", command, "error", err)
		return
	}
	log.Info("standbys that synchronize slots have the slot from now on; PostgreSQL holds its events back while one that synchronized_standby_slots names is away", "command", command)
}

func (s *session) drop(ctx context.Context, name string) error {
	err := whenFree(ctx, func() error {
		return pglogrepl.DropReplicationSlot(ctx, s.conn, name, pglogrepl.DropReplicationSlotOptions{})
	})
	if err != nil {
		return fmt.Errorf("drop slot %s: %w", name, err)
	}
	return nil
}

// start begins to stream what the slot has from an LSN on: after a crash PostgreSQL may have
// forgotten how far the slot was.
func (s *session) start(ctx context.Context, name, publication string, from pglogrepl.LSN) error {
	ctx, cancel := unlessSilent(ctx)
	defer cancel()
	err := whenFree(ctx, func() error {
		return pglogrepl.StartReplication(ctx, s.conn, name, from, pglogrepl.StartReplicationOptions{
			Mode:       pglogrepl.LogicalReplication,
			PluginArgs: []string{"proto_version '1'", "binary 'true'", "publication_names " + literal(identifier(publication))},
		})
	})
	if err != nil {
		return fmt.Errorf("read slot %s: %w", name, because(ctx, err))
	}
	return nil
}

// inUse is PostgreSQL's code where another session has the slot (object_in_use).
const inUse = "55006"

// whenFree repeats f for some seconds while the slot is in use: the session of a
// killed owner may have given up the lock and not yet the slot.
func whenFree(ctx context.Context, f func() error) error {
	for deadline := time.Now().Add(3 * time.Second); ; {
		err := f()
		if !hasCode(err, inUse) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
