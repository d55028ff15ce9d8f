package store

import (
	"context"
	"fmt"

	"github.com/rs/xid"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
)

// write stores the envelopes of one request: all of them or none.
func (f store) write(ctx context.Context, req *envelopev1.WriteProcessedEnvelopesRequest) (*envelopev1.WriteProcessedEnvelopesResponse, error) {
	rows := make([]row, len(req.Envelopes))
	for i, e := range req.Envelopes {
		r, _ := newRow(e) // checkWrite found nothing wrong with it
		if r.id == "" {
			r.id = xid.New().String()
		}
		rows[i] = r
	}
	err := f.insert(ctx, inOrder(rows))
	if refused(err) {
		return nil, runtime.InvalidField("envelopes", "ClickHouse refused the rows, none is stored: %s", exceptionText(err))
	}
	if err != nil {
		return nil, err
	}
	return &envelopev1.WriteProcessedEnvelopesResponse{Written: uint64(len(rows))}, nil
}

// checkWrite is what is wrong with the envelopes of a request.
func checkWrite(req *envelopev1.WriteProcessedEnvelopesRequest) (bad []*runtime.Violation) {
	for i, e := range req.Envelopes {
		_, faults := newRow(e)
		for _, v := range faults {
			v.Field = fmt.Sprintf("envelopes[%d].%s", i, v.Field)
		}
		bad = append(bad, faults...)
	}
	return bad
}
