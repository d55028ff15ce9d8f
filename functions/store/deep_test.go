package store_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// TestDeepEnvelopeIsRead has an envelope with so many points in a name that what ClickHouse
// makes of it nests deeper than protobuf reads: it is in nobody's way.
func TestDeepEnvelopeIsRead(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	names := map[string]int{"deepest": 5000, "deep": 40, "flat": 31} // what has so many points
	all := []*envelopev1.ProcessedEnvelope{made(t, "older", noon.Add(-time.Hour), `{"a":1}`)}
	for id, points := range names {
		all = append(all, made(t, id, noon, `{"`+strings.Repeat("a.", points)+`b":1}`))
	}
	if err := e.write(t, all...); err != nil {
		t.Fatal(err)
	}
	listed := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
	if len(listed) != len(all) {
		t.Fatalf("got %d envelopes, want %d", len(listed), len(all))
	}
	for _, got := range listed {
		data, err := proto.Marshal(got)
		if err == nil { // 100 is what C++, Java and Python read
			err = proto.UnmarshalOptions{RecursionLimit: 99}.Unmarshal(data, &envelopev1.ProcessedEnvelope{})
		}
		points, made := names[got.EnvelopeId]
		if want := strings.Repeat(`{"a":`, points) + `{"b":1}` + strings.Repeat("}", points); err != nil || made && points > 31 != (string(got.DataJson) == want) {
			t.Errorf("%s: %v, %.80s", got.EnvelopeId, err, got.DataJson)
		}
	}
}
