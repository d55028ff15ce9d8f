package store

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
)

// row is one row of processed_envelopes.
type row struct {
	organization, device string
	occurred, processed  time.Time
	object               packed // data, where it is simple
	text                 string // data as JSON, where it is not
	id                   string
	index                int // in the batch or request
	place                place
	work                 int // of ClickHouse, where it is not simple, see work
}

// The range of DateTime64(6) as far as ClickHouse's client writes and reads it: it
// counts nanoseconds in an int64, and what is later becomes a time before 1700.
var (
	earliest = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2261, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
)

// newRow makes a row of an envelope, or tells of every field that cannot be stored.
func newRow(e *envelopev1.ProcessedEnvelope) (row, []*runtime.Violation) {
	r := row{
		organization: e.OrganizationId, device: e.EndDeviceId, id: e.EnvelopeId,
		occurred: e.OccurredAt.AsTime(), processed: time.Now(),
	}
	if e.ProcessedAt != nil {
		r.processed = e.ProcessedAt.AsTime()
	}
	bad := wrongTimes(e)
	field := "data_json"
	if len(e.DataJson) == 0 {
		field = "data"
		if object, err := pack(e.Data); err == nil && object.simple() {
			r.object = object
			return r, bad
		}
	}
	data, place, err := appendData(nil, e)
	if r.work = work(data); err == nil && r.work > maxWork {
		err = errors.New("has too many lists that nest too deep: ClickHouse would work on them for very long")
	}
	if err != nil {
		return r, append(bad, &runtime.Violation{Field: field, Description: err.Error(), Reason: "DATA_INVALID"})
	}
	if hasManyKeys(data) {
		r.work = maxWork + 1 // more than a block has: it is alone
	}
	r.text, r.place = string(data), place
	return r, bad
}

// wrongTimes are the times that are none, or none of ClickHouse's.
func wrongTimes(e *envelopev1.ProcessedEnvelope) (bad []*runtime.Violation) {
	for _, f := range []struct {
		name string
		at   *timestamppb.Timestamp
	}{{"occurred_at", e.OccurredAt}, {"processed_at", e.ProcessedAt}} {
		switch t := f.at.AsTime(); {
		case f.at == nil:
		case !storable(t):
			bad = append(bad, &runtime.Violation{
				Field:       f.name,
				Description: fmt.Sprintf("is %s: the years 1900 to 2261 can be stored", t.Format(time.RFC3339)),
				Reason:      "TIME_OUT_OF_RANGE",
			})
		case !f.at.IsValid():
			bad = append(bad, &runtime.Violation{Field: f.name, Description: "is not a valid time", Reason: "TIME_INVALID"})
		}
	}
	return bad
}

// storable tells whether ClickHouse can hold t.
func storable(t time.Time) bool { return !t.Before(earliest) && !t.After(latest) }

// json is the row's data as text.
func (r *row) json() (string, error) {
	if r.text != "" {
		return r.text, nil
	}
	text, err := r.object.text(nil)
	return string(text), err
}
