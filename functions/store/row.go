package store

import (
	"time"

	"google.golang.org/grpc/codes"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
)

// row is one row of processed_envelopes.
type row struct {
	organization, device string
	occurred, processed  time.Time
	data                 string // JSON
	id                   string
	index                int // of its envelope in the batch or request
}

// The range of DateTime64(6).
var (
	earliest = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2299, 12, 31, 23, 59, 59, 0, time.UTC)
)

// newRow makes a row of an envelope. Its errors are final.
func newRow(e *envelopev1.ProcessedEnvelope, index int) (row, error) {
	r := row{
		organization: e.OrganizationId, device: e.EndDeviceId, id: e.EnvelopeId, index: index,
		occurred: e.OccurredAt.AsTime(), processed: time.Now(),
	}
	if e.ProcessedAt != nil {
		r.processed = e.ProcessedAt.AsTime()
	}
	for name, at := range map[string]time.Time{"occurred_at": r.occurred, "processed_at": r.processed} {
		if at.Before(earliest) || at.After(latest) {
			return r, runtime.Error(codes.InvalidArgument, "TIME_OUT_OF_RANGE", "%s is %s: ClickHouse holds the years 1900 to 2299", name, at.Format(time.RFC3339))
		}
	}
	data, err := appendData(nil, e)
	if err != nil {
		return r, runtime.Error(codes.InvalidArgument, "DATA_INVALID", "%v", err)
	}
	r.data = string(data)
	return r, nil
}
