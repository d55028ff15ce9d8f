package store_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// TestDeviceOfTwoOrganizations writes envelopes of one device for two organizations, as any caller
// may for his own: none sees the other's.
func TestDeviceOfTwoOrganizations(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	others := made(t, "others", noon, `{}`)
	others.OrganizationId = "p"
	if err := e.write(t, made(t, "own", noon, `{}`), others); err != nil {
		t.Fatal(err)
	}
	if got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes; len(got) != 1 || got[0].EnvelopeId != "own" {
		t.Errorf("got %v", got)
	}
}

// TestWriteWithoutIDs writes two envelopes of one moment that have no id: both are there.
func TestWriteWithoutIDs(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	if err := e.write(t, made(t, "", noon, `{"n":1}`), made(t, "", noon, `{"n":2}`)); err != nil {
		t.Fatal(err)
	}
	got := map[float64]bool{}
	for _, x := range e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes {
		got[x.Data.Fields["n"].GetNumberValue()] = x.EnvelopeId != ""
	}
	if !got[1] || !got[2] {
		t.Errorf("got %v", got)
	}
}

// TestPageAfterALargeRow reads a row whose text is larger than a page may be, and the one after it.
func TestPageAfterALargeRow(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	large := made(t, "large", noon, `{}`)
	large.Data.Fields = map[string]*structpb.Value{"s": structpb.NewStringValue(strings.Repeat("\x01", 700_000))} // six times as much as JSON
	if err := e.write(t, large, made(t, "before", noon.Add(-time.Second), `{}`)); err != nil {
		t.Fatal(err)
	}
	first := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{})
	if len(first.Envelopes) != 1 || first.Envelopes[0].EnvelopeId != "large" || first.NextPageToken == "" {
		t.Fatalf("%d envelopes, and the token is %q", len(first.Envelopes), first.NextPageToken)
	}
	second := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageToken: first.NextPageToken})
	if len(second.Envelopes) != 1 || second.Envelopes[0].EnvelopeId != "before" || second.NextPageToken != "" {
		t.Errorf("%d envelopes, and the token is %q", len(second.Envelopes), second.NextPageToken)
	}
}
