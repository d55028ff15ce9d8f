package cdc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// timelines is what PostgreSQL's log consists of: it begins another timeline when a standby is
// promoted, or a backup restored.
type timelines struct {
	current string
	left    map[string]pglogrepl.LSN // where it left each of those before
}

// until is up to where the log has what a timeline has; 0 where it does not come from that one.
func (t timelines) until(timeline string) pglogrepl.LSN {
	if timeline == t.current {
		return math.MaxUint64
	}
	return t.left[timeline]
}

// firstTimeline is that of a cluster as it was made, of which PostgreSQL has no history.
const firstTimeline = "1"

// timelines asks for those that the current one comes from. Where PostgreSQL does not tell,
// nothing is known of what they share.
func (s *session) timelines(ctx context.Context, current string) (timelines, error) {
	t := timelines{current: current}
	if current == firstTimeline {
		return t, nil
	}
	n, err := strconv.ParseInt(current, 10, 32)
	if err != nil {
		return t, err
	}
	ctx, cancel := unlessSilent(ctx)
	defer cancel()
	history, err := pglogrepl.TimelineHistory(ctx, s.conn, int32(n))
	if errors.As(err, new(*pgconn.PgError)) {
		return t, nil
	}
	if err != nil {
		return t, fmt.Errorf("TIMELINE_HISTORY: %w", because(ctx, err))
	}
	t.left = parseHistory(string(history.Content))
	return t, nil
}

// parseHistory reads a file of pg_wal whose name ends in .history: of each timeline its number,
// the LSN where it was left, and why, as PostgreSQL's src/backend/access/transam/timeline.c
// writes it. Other lines are comments.
func parseHistory(text string) map[string]pglogrepl.LSN {
	left := map[string]pglogrepl.LSN{}
	for line := range strings.Lines(text) {
		timeline, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		text, _, _ := strings.Cut(rest, "\t")
		if lsn, err := pglogrepl.ParseLSN(text); err == nil {
			left[timeline] = lsn
		}
	}
	return left
}
