package store

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/internal/page"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// What is far larger than a page stays in ClickHouse, but for two rows: page.Cut tells
// by the second that there are more. A row has a sixth of its text as a message at least.
// The types are for a row that may have a double which looks like an integer.
const listSQL = `
SELECT occurred_at, processed_at, text, types, envelope_id FROM (
SELECT *, row_number() OVER w AS number, sum(length(text)) OVER w - length(text) AS before FROM (
SELECT occurred_at, processed_at, toString(data) AS text, if(match(text, '[0-9]{16}'), JSONAllPathsWithTypes(data), CAST(map() AS Map(String, String))) AS types, envelope_id
FROM processed_envelopes FINAL`

const whereSQL = `
WHERE organization_id = {organization:String} AND end_device_id = {device:String}`

// With FINAL ClickHouse reads all that there is of a device, so the page's last moment is
// looked for without, where it reads from the end on. A row may be there more than once:
// where too few are found, nothing bounds the page.
const sinceSQL = `
AND occurred_at >= (SELECT if(uniqExact(occurred_at, envelope_id) < {limit:UInt32}, fromUnixTimestamp64Micro({earliest:Int64}, 'UTC'), min(occurred_at)) FROM (
SELECT occurred_at, envelope_id FROM processed_envelopes`

const orderSQL = `
ORDER BY occurred_at DESC, envelope_id DESC
LIMIT {limit:UInt32}`

const windowSQL = `)
WINDOW w AS (ORDER BY occurred_at DESC, envelope_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))
WHERE number <= 2 OR before <= {bytes:UInt64}
ORDER BY occurred_at DESC, envelope_id DESC`

// list returns a page of a device's envelopes, newest first.
func (f store) list(ctx context.Context, req *envelopev1.ListProcessedEnvelopesRequest) (*envelopev1.ListProcessedEnvelopesResponse, error) {
	size := page.Size(req.PageSize)
	sql, args, err := listQuery(req, size)
	if err != nil {
		return nil, err
	}
	// Else numbers may be texts: large integers before ClickHouse 25.8, and all others where a
	// user's profile says so.
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"output_format_json_quote_64bit_integers": 0, "output_format_json_quote_64bit_floats": 0,
	}))
	var rows driver.Rows
	if err := f.connected(func() (err error) { rows, err = f.db.Query(ctx, sql, args...); return }); err != nil {
		return nil, queryError(ctx, err)
	}
	defer rows.Close() //nolint:errcheck // Err says more
	resp := &envelopev1.ListProcessedEnvelopesResponse{}
	for rows.Next() {
		e := &envelopev1.ProcessedEnvelope{OrganizationId: req.OrganizationId, EndDeviceId: req.EndDeviceId}
		var occurred, processed time.Time
		var data string
		var types map[string]string
		if err := rows.Scan(&occurred, &processed, &data, &types, &e.EnvelopeId); err != nil {
			return nil, err
		}
		e.OccurredAt, e.ProcessedAt = timestamppb.New(occurred), timestamppb.New(processed)
		if err := readData(e, data, types, int(f.js.Conn().MaxPayload())-tokenBytes); err != nil {
			return nil, err
		}
		resp.Envelopes = append(resp.Envelopes, e)
	}
	if err := rows.Err(); err != nil {
		return nil, queryError(ctx, err)
	}
	resp.Envelopes, resp.NextPageToken = page.Cut(resp.Envelopes, size, scope(req), key)
	return resp, nil
}

func key(e *envelopev1.ProcessedEnvelope) page.Key {
	return page.Key{Time: e.OccurredAt.AsTime(), ID: e.EnvelopeId}
}

// scope is what a page token is good for: this rpc with these filters.
func scope(req *envelopev1.ListProcessedEnvelopesRequest) string {
	return page.Scope(envelopev1.EnvelopeService_ListProcessedEnvelopes_FullMethodName,
		req.OrganizationId, req.EndDeviceId, bound(req.StartTime), bound(req.EndTime))
}

// bound is a time as text. That of protobuf's String differs between two builds.
func bound(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return strconv.FormatInt(t.Seconds, 10) + "." + strconv.Itoa(int(t.Nanos))
}

// tokenBytes are more than a reply has beside its only envelope.
const tokenBytes = 1 << 10

// readData fills in an envelope's data, whose paths have these types in ClickHouse. Where
// a Struct cannot hold a number, data_json has all of it. It has so alone where there is
// much, since with both a reply may have no room for what was written with one; where
// even the Struct has no room, which takes six times as much as some texts; and where
// it nests so deep that nobody could read the reply: that is up to the points in a name.
func readData(e *envelopev1.ProcessedEnvelope, text string, types map[string]string, room int) error {
	v, err := parseJSON([]byte(text))
	if err != nil {
		return err
	}
	if changed := false; len(types) > 0 {
		if v = withDoubles(v, "", types, &changed); changed {
			if text, err = jsonOf(v); err != nil {
				return err
			}
		}
	}
	if deeper(v, maxDepth) {
		e.DataJson = []byte(text)
		return nil
	}
	exact := true
	object, _ := plain(v, &exact).(map[string]any)
	if !exact {
		e.DataJson = []byte(text)
	}
	if exact || len(text) <= page.MaxBytes {
		e.Data, err = structpb.NewStruct(object)
	}
	if len(text) > room/8 && len(text) < proto.Size(e.Data) && proto.Size(e) > room {
		e.Data, e.DataJson = nil, []byte(text)
	}
	return err
}

// deeper tells whether objects and lists nest deeper than that.
func deeper(v any, depth int) bool {
	deeper := func(v any) bool { return deeper(v, depth-1) }
	switch x := v.(type) {
	case []any:
		return depth == 0 || slices.ContainsFunc(x, deeper)
	case map[string]any:
		for _, item := range x {
			if depth == 0 || deeper(item) {
				return true
			}
		}
	}
	return false
}
