package main

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/config"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
)

// TestCells shows values of ClickHouse as a person reads them, and as JSON holds them.
func TestCells(t *testing.T) {
	t.Parallel()
	one, at := uint8(1), time.Date(2026, 11, 27, 1, 2, 3, 4000, time.UTC)
	for _, tt := range []struct {
		value        any
		cell, inJSON string
	}{
		{nil, "NULL", "null"},
		{(*uint8)(nil), "NULL", "null"},
		{clickhouse.NewDynamicWithType(27.2, "Float64"), "27.2", "27.2"}, // a path of a JSON column
		{[]*uint8{nil, &one}, "[NULL 1]", "[null,1]"},
		{[]uint8{1, 2}, "[1 2]", "[1,2]"},
		{*big.NewInt(5), "5", "5"},
		{math.NaN(), "NaN", "null"},
		{&at, "2026-11-27 01:02:03.000004", `"2026-11-27T01:02:03.000004Z"`},
		{map[string]float64{"a": math.NaN()}, "map[a:NaN]", `{"a":null}`},
		{map[float64]uint8{0.5: 1}, "map[0.5:1]", `{"0.5":1}`},
		{map[time.Time]uint8{at: 1}, "map[2026-11-27 01:02:03.000004:1]", `{"2026-11-27T01:02:03.000004Z":1}`},
		{map[any]any{}, "map[]", "{}"}, // map() of nothing
		{map[string]*uint8{"b": &one, "a": nil}, "map[a:NULL b:1]", `{"a":null,"b":1}`},
		{[]json.RawMessage{[]byte(`{"a":1}`)}, `[{"a":1}]`, `[{"a":1}]`},
		{(*json.RawMessage)(nil), "NULL", "null"},
		{at.Add(5), "2026-11-27 01:02:03.000004005", `"2026-11-27T01:02:03.000004005Z"`},
		{at, "2026-11-27 01:02:03.000004", `"2026-11-27T01:02:03.000004Z"`},
	} {
		if got := cell(tt.value); got != tt.cell {
			t.Errorf("%T %v is shown as %s, want %s", tt.value, tt.value, got, tt.cell)
		}
		if got, err := json.Marshal(plain(tt.value)); err != nil || string(got) != tt.inJSON {
			t.Errorf("%T %v in JSON is %s, want %s, %v", tt.value, tt.value, got, tt.inJSON, err)
		}
	}
	var b strings.Builder
	(&output{Writer: &b}).table([]string{"NAME\x1b[2J"}, [][]string{{"a\nb\x1b]0;owned\x07"}})
	if want := `NAME\x1b[2J` + "\n" + `a\nb\x1b]0;owned\a` + "\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	(&output{Writer: &b}).pairs("header a\u202e", "b\u2066\u2028c\u00ad\x9b2J é\u3000می\u200cخواهم")
	if want := `header a\u202e  b\u2066\u2028c\u00ad` + "\uFFFD2J é\u3000می\u200cخواهم\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// TestTailShowsWhatItCan holds that `ponix tail` goes on after an envelope that cannot
// be shown, and leaves the terminal alone.
func TestTailShowsWhatItCan(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	processed := config.Default[streams.Config]().ProcessedEnvelopes()
	if err := streams.Ensure(t.Context(), js, processed); err != nil {
		t.Fatal(err)
	}
	data := func(v *structpb.Value) *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{"v": v}}
	}
	for _, env := range []*envelopev1.ProcessedEnvelope{
		{EndDeviceId: "d1", Data: data(structpb.NewNumberValue(math.NaN()))},
		{EndDeviceId: "d2", DataJson: []byte("{")},
		{EndDeviceId: "d2", OccurredAt: &timestamppb.Timestamp{Seconds: 1 << 50}},
		{EndDeviceId: "d3\x1b[2J", Data: data(structpb.NewStringValue("\u009b2J"))},
	} {
		payload, err := proto.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), processed.Subject("o", "d"), payload); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{"table", "json"} {
		p := start(t, []string{"PONIX_NATS_URL=" + nc.ConnectedUrl()}, "tail", "--since", "1m", "--format", format)
		p.waitFor(t, 10*time.Second, "d3")
		if out := p.out.String(); format == "table" && strings.ContainsAny(out, "\x1b\u009b") {
			t.Errorf("the terminal gets %q", out)
		}
	}
}

// TestTailBeginsInThePast holds that a negative --since is refused: it was as if none were given.
func TestTailBeginsInThePast(t *testing.T) {
	t.Parallel()
	if _, err := call(t, []string{"PONIX_NATS_URL=nats://127.0.0.1:1"}, "tail", "--since=-1h"); err == nil || !strings.Contains(err.Error(), "exit code 2: ponix: --since must not be negative") {
		t.Errorf("got %v", err)
	}
}

// TestAllIsNoVariable holds that what cannot be undone is not chosen by a variable that
// somebody has exported for something else.
func TestAllIsNoVariable(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"PONIX_ALL=true", "PONIX_FUNCTION=convert", "PONIX_REASON=NO_EXPRESSION"} {
		if _, err := call(t, []string{variable, "PONIX_NATS_URL=nats://127.0.0.1:1"}, "dlq", "drop"); err == nil || !strings.Contains(err.Error(), "name the letters by their numbers") {
			t.Errorf("%s: got %v", variable, err)
		}
	}
	for _, command := range []string{"migrate down", "dlq drop", "dlq replay"} {
		out, err := call(t, nil, append(strings.Fields(command), "--help")...)
		if err != nil || !strings.Contains(out, "--all") || strings.Contains(out, "PONIX_ALL") {
			t.Errorf("%s: %v, %s", command, err, out)
		}
	}
}

// TestPSListsWhatAnswersWell holds that a service of somebody else, which answers with
// anything, does not hide Ponix's own.
func TestPSListsWhatAnswersWell(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	for _, answer := range []string{"", "[]", `{"name": "convert", "id": "x", "endpoints": [null, {"name": "good"}]}`} {
		if _, err := nc.Subscribe("$SRV.STATS", func(m *nats.Msg) {
			m.Respond([]byte(answer)) //nolint:errcheck // the command tells
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if out := must(t, []string{"PONIX_NATS_URL=" + nc.ConnectedUrl()}, "ps"); !strings.Contains(out, "good") {
		t.Errorf("got %s", out)
	}
}

// TestDeathsAreUTC holds the list of dead letters to the time that rows have.
func TestDeathsAreUTC(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000_000, 0).In(time.FixedZone("far", 5*60*60+30*60))
	if got := letterRow(deadletter.Letter{Died: at})[1]; got != "2001-09-09 01:46:40" {
		t.Errorf("it died %s", got)
	}
}
