package store

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// envelope is one that is scanned, and changed by f.
func envelope(t testing.TB, data map[string]any, f func(*envelopev1.ProcessedEnvelope)) []byte {
	t.Helper()
	object, err := structpb.NewStruct(data)
	if err != nil {
		t.Fatal(err)
	}
	at := timestamppb.New(time.Date(2026, 5, 4, 12, 0, 0, 123456000, time.UTC))
	e := &envelopev1.ProcessedEnvelope{EndDeviceId: "d", OrganizationId: "o", EnvelopeId: "e", OccurredAt: at, ProcessedAt: at, Data: object}
	if f != nil {
		f(e)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestScan(t *testing.T) {
	t.Parallel()
	object := map[string]any{"b": true, "n": 20.5, "o": map[string]any{"a": "x", "n": nil}, "s": ""}
	plain := envelope(t, object, nil)
	for name, c := range map[string]struct {
		encoded []byte
		scanned bool
	}{
		"as convert writes it":    {plain, true},
		"no object":               {envelope(t, nil, nil), true},
		"before 1970":             {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.OccurredAt.Seconds = -5 }), true},
		"a list":                  {envelope(t, map[string]any{"l": []any{1, "a"}}, nil), false},
		"a point in a key":        {envelope(t, map[string]any{"a.b": 1}, nil), false},
		"no JSON number":          {envelope(t, map[string]any{"n": math.NaN()}, nil), false},
		"an infinite number":      {envelope(t, map[string]any{"n": math.Inf(-1)}, nil), false},
		"an empty id":             {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.EndDeviceId = "" }), false},
		"no id":                   {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.OrganizationId = "a.b" }), false},
		"no time":                 {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.OccurredAt = nil }), false},
		"a time out of range":     {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.OccurredAt.Seconds = 1 << 40 }), false},
		"data_json":               {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.DataJson = []byte(`{}`) }), false},
		"a field twice":           {append(protowire.AppendTag(append([]byte{}, plain...), 6, protowire.BytesType), 1, 'f'), false},
		"a field of the future":   {append(protowire.AppendTag(append([]byte{}, plain...), 9, protowire.BytesType), 1, 'f'), false},
		"an end that comes early": {plain[:len(plain)-1], false},
		"an id that is too long":  {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.EnvelopeId = strings.Repeat("e", 256) }), false},
		"an id that is no text":   {bytes.Replace(plain, []byte("2\x01e"), []byte("2\x01\xff"), 1), false},
		"a key that is no text":   {bytes.Replace(plain, []byte("\n\x01s"), []byte("\n\x01\xff"), 1), false},
		"a value that is no text": {bytes.Replace(plain, []byte("\x1a\x01x"), []byte("\x1a\x01\xff"), 1), false},
		"too many nanoseconds":    {envelope(t, object, func(e *envelopev1.ProcessedEnvelope) { e.OccurredAt.Nanos = 1e9 }), false},
		"JSON":                    {[]byte(`{"endDeviceId":"d"}`), false},
	} {
		if _, ok := scan(c.encoded); ok != c.scanned {
			t.Errorf("%s: scanned is %v", name, ok)
		}
	}
}

// TestSimple holds that what is there twice, of which protobuf takes the last, is not taken by its
// paths, nor what is not as protobuf writes it, or has no name.
func TestSimple(t *testing.T) {
	t.Parallel()
	for encoded, want := range map[string]bool{
		"\n\x07\n\x01a\x12\x02 \x01":                           true, // {"a": true}
		"\n\x07\n\x01a\x12\x02 \x01\n\x07\n\x01b\x12\x02 \x00": true,
		"\n\x07\n\x01a\x12\x02 \x01\n\x07\n\x01a\x12\x02 \x00": false, // the key
		"\n\x0b\n\x01a\x12\x02 \x01\x12\x02 \x00":              false, // its value
		"\n\x09\n\x01a\x12\x04 \x01 \x00":                      false, // what is in it
		"\n\x08\n\x01a\x12\x03 \x80\x00":                       false, // false, in two bytes
		"\n\x06\n\x00\x12\x02 \x01":                            false, // {"": true}
	} {
		var s structpb.Struct
		if err := proto.Unmarshal([]byte(encoded), &s); err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		if got := packed(encoded).simple(); got != want {
			t.Errorf("%q is simple: %v", encoded, got)
		}
	}
}

// FuzzScan holds what scan reads to what protobuf reads, and to the rules.
func FuzzScan(f *testing.F) {
	f.Add(envelope(f, map[string]any{"a": 1.5, "b": map[string]any{"c": "x", "d": false, "e": nil}}, nil))
	f.Add(envelope(f, map[string]any{"a": map[string]any{}, "l": []any{1}}, nil))
	rules, err := protovalidate.New()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := scan(data)
		if !ok {
			return
		}
		var e envelopev1.ProcessedEnvelope
		if err := proto.Unmarshal(data, &e); err != nil {
			t.Fatalf("protobuf does not read it: %v", err)
		}
		if err := rules.Validate(&e); err != nil {
			t.Fatalf("it is not valid: %v", err)
		}
		want, err := newRow(&e)
		if err != nil || want.text != "" {
			t.Fatalf("the row is %+v, %v", want, err)
		}
		if got.organization != want.organization || got.device != want.device || got.id != want.id || !got.occurred.Equal(want.occurred) || !got.processed.Equal(want.processed) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		var object structpb.Struct
		if err := proto.Unmarshal(got.object, &object); err != nil || len(object.Fields)+len(e.Data.GetFields()) > 0 && !proto.Equal(&object, e.Data) {
			t.Errorf("data is %v, not %v: %v", &object, e.Data, err)
		}
	})
}
