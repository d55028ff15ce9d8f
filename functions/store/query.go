package store

import (
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/internal/page"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
)

// listQuery builds the query of one page, with one row more than fits.
func listQuery(req *envelopev1.ListProcessedEnvelopesRequest, size int) (string, []any, error) {
	where := whereSQL
	args := []any{
		clickhouse.Named("organization", req.OrganizationId),
		clickhouse.Named("device", req.EndDeviceId),
		clickhouse.Named("limit", size+1),
		clickhouse.Named("earliest", earliest.UnixMicro()),
		clickhouse.Named("bytes", 8*page.MaxBytes),
	}
	for _, bound := range []struct {
		name, operator string
		at             *timestamppb.Timestamp
	}{
		{"start", ">=", req.StartTime},
		{"end", "<", req.EndTime},
	} {
		if bound.at == nil {
			continue
		}
		where += " AND occurred_at " + bound.operator + " fromUnixTimestamp64Micro({" + bound.name + ":Int64}, 'UTC')"
		args = append(args, clickhouse.Named(bound.name, microsecond(bound.at.AsTime())))
	}
	if req.PageToken != "" {
		after, err := page.Parse(scope(req), req.PageToken)
		if err != nil {
			return "", nil, err
		}
		// Of the two ClickHouse finds only the first by the key of the table.
		where += ` AND occurred_at <= fromUnixTimestamp64Micro({after:Int64}, 'UTC')
AND (occurred_at, envelope_id) < (fromUnixTimestamp64Micro({after:Int64}, 'UTC'), {id:String})`
		args = append(args, clickhouse.Named("after", after.Time.UnixMicro()), clickhouse.Named("id", after.ID))
	}
	return listSQL + where + sinceSQL + where + orderSQL + " * 2))" + orderSQL + windowSQL, args, nil
}

// checkList is what is wrong with the request of a list.
func checkList(req *envelopev1.ListProcessedEnvelopesRequest) (bad []*runtime.Violation) {
	for _, bound := range []struct {
		field string
		at    *timestamppb.Timestamp
	}{{"start_time", req.StartTime}, {"end_time", req.EndTime}} {
		if bound.at != nil && !bound.at.IsValid() {
			bad = append(bad, &runtime.Violation{Field: bound.field, Description: "is not a valid time"})
		}
	}
	return append(bad, page.Check(scope(req), req.PageToken)...)
}

// microsecond is that of t, as it is of a row's time, or, where no row is, one next to those
// that rows have.
func microsecond(t time.Time) int64 {
	switch {
	case t.Before(earliest):
		return earliest.UnixMicro()
	case t.After(latest):
		return latest.UnixMicro() + 1
	}
	return t.UnixMicro()
}
