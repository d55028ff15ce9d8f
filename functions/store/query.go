package store

import (
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"ponix/functions/internal/page"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
)

// listQuery builds the query of one page, with one row more than fits.
func listQuery(req *envelopev1.ListProcessedEnvelopesRequest, size int) (string, []any, error) {
	sql := listSQL
	args := []any{
		clickhouse.Named("organization", req.OrganizationId),
		clickhouse.Named("device", req.EndDeviceId),
		clickhouse.Named("limit", size+1),
		clickhouse.Named("bytes", 8*page.MaxBytes),
	}
	for _, bound := range []struct {
		field, name, operator string
		at                    interface {
			AsTime() time.Time
			IsValid() bool
		}
		set bool
	}{
		{"start_time", "start", ">=", req.StartTime, req.StartTime != nil},
		{"end_time", "end", "<", req.EndTime, req.EndTime != nil},
	} {
		if !bound.set {
			continue
		}
		if !bound.at.IsValid() {
			return "", nil, runtime.InvalidField(bound.field, "is not a valid time")
		}
		sql += " AND occurred_at " + bound.operator + " fromUnixTimestamp64Micro({" + bound.name + ":Int64}, 'UTC')"
		args = append(args, clickhouse.Named(bound.name, clamp(bound.at.AsTime()).UnixMicro()))
	}
	if req.PageToken != "" {
		after, err := page.Parse(scope(req), req.PageToken)
		if err != nil {
			return "", nil, err
		}
		sql += " AND (occurred_at, envelope_id) < (fromUnixTimestamp64Micro({after:Int64}, 'UTC'), {id:String})"
		args = append(args, clickhouse.Named("after", after.Time.UnixMicro()), clickhouse.Named("id", after.ID))
	}
	return sql + orderSQL, args, nil
}

// clamp brings t into the range of DateTime64(6).
func clamp(t time.Time) time.Time {
	if t.Before(earliest) {
		return earliest
	}
	if t.After(latest) {
		return latest
	}
	return t
}
