package store_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// TestLargeExactEnvelopeIsRead has an envelope with integers beyond 2^53 that is about as
// large as NATS takes: it can be read back, and so can what is older.
func TestLargeExactEnvelopeIsRead(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	large := made(t, "large", noon, `{}`)
	large.Data = nil
	large.DataJson = append(append([]byte(`{"a":[`), bytes.Repeat([]byte("9007199254740993,"), 50_000)...), "9007199254740993]}"...)
	if err := e.write(t, large); err != nil {
		t.Fatal(err)
	}
	if err := e.write(t, made(t, "older", noon.Add(-time.Hour), `{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	first := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{})
	if len(first.Envelopes) != 1 || !bytes.Equal(first.Envelopes[0].DataJson, large.DataJson) {
		t.Errorf("got %d envelopes", len(first.Envelopes))
	}
	second := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageToken: first.NextPageToken})
	if len(second.Envelopes) != 1 || second.Envelopes[0].EnvelopeId != "older" {
		t.Errorf("then got %v", second)
	}
}

// TestListOfShortItemsIsRead has data whose text is far smaller than NATS takes, and whose
// Struct is larger: it can be read back, and so can what is older.
func TestListOfShortItemsIsRead(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	short := strings.Repeat(",1", 150_000) + "]}"
	for i, first := range []string{"9007199254740993", "1"} {
		large := made(t, first, noon.Add(time.Duration(-i)*time.Hour), `{}`)
		large.Data, large.DataJson = nil, []byte(`{"a":[`+first+short)
		if err := e.write(t, large); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.write(t, made(t, "older", noon.Add(-9*time.Hour), `{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	token := ""
	for _, id := range []string{"9007199254740993", "1", "older"} {
		page := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 1, PageToken: token})
		token = page.NextPageToken
		if len(page.Envelopes) != 1 || page.Envelopes[0].EnvelopeId != id {
			t.Fatalf("got %d envelopes for %s", len(page.Envelopes), id)
		}
		if got := page.Envelopes[0]; id != "older" && (string(got.DataJson) != `{"a":[`+id+short || got.Data != nil) {
			t.Errorf("%s: %.80s", id, got.DataJson)
		}
	}
}

// TestManyMonths writes a block of more months than ClickHouse takes in one by default, 100, as
// where clocks of devices are wrong.
func TestManyMonths(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	var all []*envelopev1.ProcessedEnvelope
	for i := range 101 {
		all = append(all, made(t, strconv.Itoa(i), noon.AddDate(0, i, 0), `{"a":1}`))
	}
	if err := e.write(t, all...); err != nil {
		t.Fatal(err)
	}
	var rows uint64
	if err := e.db.QueryRow(t.Context(), "SELECT count() FROM processed_envelopes").Scan(&rows); err != nil || rows != uint64(len(all)) {
		t.Errorf("there are %d rows, %v", rows, err)
	}
}
