package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/functiontest"
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

// TestDeepDataIsRefused has data that ClickHouse would work on for minutes, of a few
// kilobytes: each level of lists of many types takes it longer.
func TestDeepDataIsRefused(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	deep := func(levels int) string {
		return strings.Repeat(`["x",`, levels) + "1" + strings.Repeat("]", levels)
	}
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, `,"%d":%s`, i, deep(30))
	}
	for i, data := range []string{`{"a":` + deep(900) + "}", `{"a":1` + many.String() + "}", `{"a":[{"b":{"c":1` + many.String() + "}}]}"} {
		exact := made(t, fmt.Sprint("exact", i), noon, `{}`)
		exact.Data, exact.DataJson = nil, []byte(data)
		functiontest.WantInvalid(t, e.write(t, made(t, fmt.Sprint("e", i), noon, data), exact), "envelopes[0].data", "envelopes[1].data_json")
	}
	text := strings.Repeat("[", 1000)
	fine := []*envelopev1.ProcessedEnvelope{
		made(t, "deep", noon, `{"a":`+deep(30)+"}"), made(t, "text", noon, `{"a":["`+text+`\"`+text+`"]}`),
		made(t, "long", noon, `{"a":[1`+strings.Repeat(`,[[1]]`, 10_000)+"]}"), made(t, "objects", noon, strings.Repeat(`{"a":`, 900)+"1"+strings.Repeat("}", 900)),
	}
	if err := e.write(t, fine...); err != nil {
		t.Error(err)
	}
}
