package store_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/xid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/internal/functiontest"
	"ponix/functions/store"
	"ponix/migrations"
	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

type env struct {
	envelopev1.EnvelopeServiceClient
	db driver.Conn
	nc *nats.Conn
	js jetstream.JetStream
}

// start hosts the function on empty engines. maxBytes bounds the streams.
func start(t *testing.T, maxBytes int64) env {
	t.Helper()
	return startWith(t, maxBytes, func(*clickhouse.Options) {})
}

// startWith is start with another connection to ClickHouse.
func startWith(t *testing.T, maxBytes int64, change func(*clickhouse.Options)) env {
	t.Helper()
	o := runtimetest.ClickHouse(t)
	m, err := migrations.ClickHouse(o, migrations.Storage{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // what matters is there
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Settings = clickhouse.Settings{"output_format_native_write_json_as_string": 1}
	change(o)
	db, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // the test is over
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(2*time.Second)) // see functions.All
	if err != nil {
		t.Fatal(err)
	}
	s := streams.Config{Raw: "raw_envelopes", Processed: "processed_envelopes", Replicas: 1, MaxBytes: maxBytes, AckWait: 30 * time.Second, ReplayWindow: time.Hour}
	if err := streams.Ensure(t.Context(), js, s.RawEnvelopes(), s.ProcessedEnvelopes(), s.DeadLetters()); err != nil {
		t.Fatal(err)
	}
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: s, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, // callers are not told why ClickHouse cannot be used
		store.New(db, js, s, runtime.Batch{Size: 1000, Wait: 20 * time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return env{envelopev1.NewEnvelopeServiceClient(wire.NewClient(nc)), db, nc, js}
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 123456000, time.UTC)

// made is an envelope of organization o and device d.
func made(t *testing.T, id string, at time.Time, data string) *envelopev1.ProcessedEnvelope {
	t.Helper()
	e := &envelopev1.ProcessedEnvelope{OrganizationId: "o", EndDeviceId: "d", EnvelopeId: id, OccurredAt: timestamppb.New(at), ProcessedAt: timestamppb.New(at.Add(time.Second))}
	e.Data = &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(data), e.Data); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e env) write(t *testing.T, envelopes ...*envelopev1.ProcessedEnvelope) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a busy ClickHouse has room
	defer cancel()
	resp, err := e.WriteProcessedEnvelopes(ctx, &envelopev1.WriteProcessedEnvelopesRequest{Envelopes: envelopes})
	if err == nil && resp.Written != uint64(len(envelopes)) {
		t.Errorf("%d of %d written", resp.Written, len(envelopes))
	}
	return err
}

func (e env) list(t *testing.T, req *envelopev1.ListProcessedEnvelopesRequest) *envelopev1.ListProcessedEnvelopesResponse {
	t.Helper()
	req.OrganizationId, req.EndDeviceId = "o", "d"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, err := e.ListProcessedEnvelopes(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func (e env) count(t *testing.T, what string) (n uint64) {
	t.Helper()
	if err := e.db.QueryRow(context.WithoutCancel(t.Context()), "SELECT count() FROM processed_envelopes "+what).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	const data = `{"text":"a \"quoted\" ü\n line","whole":20,"part":20.5,"big":1e300,"small":-1e-9,"yes":true,"list":[1,2.5],"object":{"inner":"x"},"empty":""}`
	want := made(t, "1", noon, data)
	if err := e.write(t, want); err != nil {
		t.Fatal(err)
	}
	exact := made(t, "2", noon.Add(time.Second), `{}`)
	exact.DataJson = []byte(`{"id":9223372036854775807,"n":1,"most":9007199254740992,"least":-9007199254740992}`)
	if err := e.write(t, exact); err != nil {
		t.Fatal(err)
	}
	got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
	if len(got) != 2 {
		t.Fatalf("%d envelopes", len(got))
	}
	if !proto.Equal(got[1], want) {
		t.Errorf("got  %v\nwant %v", got[1], want)
	}
	if s := string(got[0].DataJson); !strings.Contains(s, `"id":9223372036854775807`) && !strings.Contains(s, `"id":"9223372036854775807"`) {
		t.Errorf("the exact integer is %s", s)
	}
	// A number is Float64, however it looks, but for an integer beyond 2^53.
	for path, want := range map[string]string{"whole": "Float64", "part": "Float64", "most": "Float64", "least": "Float64", "id": "Int64"} {
		var types []string
		if err := e.db.QueryRow(t.Context(), "SELECT groupUniqArray(dynamicType(data."+path+")) FROM processed_envelopes WHERE dynamicType(data."+path+") != 'None'").Scan(&types); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(types, []string{want}) {
			t.Errorf("%s is of type %v, want %s", path, types, want)
		}
	}
}

// TestFormsOfData holds that what one JSON is in ClickHouse does not depend on the
// others of its block, which decide how it gets there: as values, or as text where one
// has a list or all have too many paths.
func TestFormsOfData(t *testing.T) {
	t.Parallel()
	mixed := []string{`{"x":"2026-05-04","y":{"z":1},"n":20}`, `{"x":1.5,"y":true}`, `{"x":false,"y":{"z":"12:00"}}`, `{}`, `{"x":"2026-05-04T12:00:00Z"}`}
	wide := `{"last":0`
	for i := range 100 {
		wide += fmt.Sprintf(`,"path%d":%d`, i, i)
	}
	var want string
	for name, more := range map[string][]string{"": nil, "a list": {`{"l":[1,"a",{"b":[]}]}`}, "many paths": {wide + "}"}, "only empty ones": {`{}`, `{}`}} {
		e := start(t, 1<<26)
		var envelopes []*envelopev1.ProcessedEnvelope
		for i, data := range append(slices.Clone(mixed), more...) {
			envelopes = append(envelopes, made(t, fmt.Sprint(i), noon, data))
		}
		if err := e.write(t, envelopes...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got string
		if err := e.db.QueryRow(t.Context(), `SELECT arrayStringConcat(groupArray(toJSONString(data) || dynamicType(data.x) || dynamicType(data.y) || dynamicType(data.y.z) || dynamicType(data.n)), '\n')
			FROM (SELECT * FROM processed_envelopes WHERE toInt32(envelope_id) < 5 ORDER BY envelope_id)`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("with %s:\n%s\nwithout:\n%s", name, got, want)
		}
		list := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
		if len(list) != len(envelopes) {
			t.Fatalf("%s: %d envelopes", name, len(list))
		}
		for _, got := range list {
			n, err := strconv.Atoi(got.EnvelopeId)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got.Data, envelopes[n].Data) {
				t.Errorf("with %s, %d is %v, not %v", name, n, got.Data, envelopes[n].Data)
			}
		}
	}
}

func TestWriteTwiceIsOneRow(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	for _, data := range []string{`{"n":1}`, `{"n":1}`, `{"n":2}`} {
		envelope := made(t, "same", noon, data)
		if data == `{"n":2}` {
			envelope.ProcessedAt = timestamppb.New(noon.Add(time.Minute))
		}
		if err := e.write(t, envelope); err != nil {
			t.Fatal(err)
		}
	}
	got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
	if len(got) != 1 || got[0].Data.Fields["n"].GetNumberValue() != 2 {
		t.Errorf("got %v", got)
	}
	if n := e.count(t, "FINAL"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	var all []*envelopev1.ProcessedEnvelope
	for i := range 25 { // three at each moment
		all = append(all, made(t, fmt.Sprintf("%02d", i), noon.Add(time.Duration(i/3)*time.Microsecond), `{}`))
	}
	other := made(t, "other", noon, `{}`)
	other.EndDeviceId = "e"
	if err := e.write(t, append(slices.Clone(all), other)...); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for token := ""; ; {
		resp := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 4, PageToken: token})
		for _, got := range resp.Envelopes {
			ids = append(ids, got.EnvelopeId)
		}
		if token = resp.NextPageToken; token == "" {
			break
		}
		newer := made(t, "new"+resp.Envelopes[0].EnvelopeId, noon.Add(time.Hour), `{}`)
		if err := e.write(t, newer); err != nil { // pages are stable under inserts
			t.Fatal(err)
		}
	}
	var want []string
	for _, w := range slices.Backward(all) {
		want = append(want, w.EnvelopeId)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("got  %v\nwant %v", ids, want)
	}
	window := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{StartTime: timestamppb.New(noon.Add(time.Microsecond)), EndTime: timestamppb.New(noon.Add(2 * time.Microsecond))})
	if len(window.Envelopes) != 3 || window.Envelopes[0].EnvelopeId != "05" {
		t.Errorf("the window has %v", window.Envelopes)
	}
	first := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 1})
	_, err := e.ListProcessedEnvelopes(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "e", PageToken: first.NextPageToken})
	functiontest.WantInvalid(t, err, "page_token")
	for _, other := range []*envelopev1.ListProcessedEnvelopesRequest{{StartTime: timestamppb.New(noon)}, {EndTime: timestamppb.New(noon)}} {
		other.OrganizationId, other.EndDeviceId, other.PageToken = "o", "d", first.NextPageToken
		_, err = e.ListProcessedEnvelopes(t.Context(), other)
		functiontest.WantInvalid(t, err, "page_token")
	}
	_, err = e.ListProcessedEnvelopes(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "d", PageSize: -1, PageToken: "x", StartTime: &timestamppb.Timestamp{Nanos: -1}, EndTime: &timestamppb.Timestamp{Nanos: -1}})
	functiontest.WantInvalid(t, err, "page_size", "page_token", "start_time", "end_time")
	_, err = e.ListProcessedEnvelopes(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{EndDeviceId: "d"})
	functiontest.WantInvalid(t, err, "organization_id")
}

// TestPagesOfRetries holds pages to their size where rows are there many times.
func TestPagesOfRetries(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	if err := e.db.Exec(t.Context(), "SYSTEM STOP MERGES processed_envelopes"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var all []*envelopev1.ProcessedEnvelope
		for i := range 30 {
			all = append(all, made(t, fmt.Sprint(i), noon.Add(time.Duration(i)*time.Second), `{}`))
		}
		if err := e.write(t, all...); err != nil {
			t.Fatal(err)
		}
	}
	want := 29
	for token := ""; want >= 0; {
		resp := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 10, PageToken: token})
		for _, got := range resp.Envelopes {
			if got.EnvelopeId != fmt.Sprint(want) {
				t.Fatalf("got %s, want %d", got.EnvelopeId, want)
			}
			want--
		}
		if token = resp.NextPageToken; len(resp.Envelopes) != 10 || (token == "") != (want < 0) {
			t.Fatalf("%d envelopes up to %d, next %q", len(resp.Envelopes), want+1, token)
		}
	}
}

// TestWriteAgain writes what was there before: after it was removed, and after another
// has replaced it.
func TestWriteAgain(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<28)
	write := func(data string) {
		t.Helper()
		if err := e.write(t, made(t, "1", noon, data)); err != nil {
			t.Fatal(err)
		}
		if got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes; len(got) != 1 || text(t, got[0].Data) != data {
			t.Errorf("%s is written, and there is %v", data, got)
		}
	}
	write(`{"n":1}`)
	write(`{"n":2}`)
	write(`{"n":1}`)
	if err := e.db.Exec(t.Context(), "DELETE FROM processed_envelopes WHERE envelope_id = '1'"); err != nil {
		t.Fatal(err)
	}
	write(`{"n":1}`)
}

// TestLists holds that what is in a list stays what it is, whatever is beside it:
// ClickHouse gives all of a list one type.
func TestLists(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<28)
	at := noon
	for _, data := range []string{`{"l":[true,1.5]}`, `{"l":[true,"x"]}`, `{"l":["true",true]}`, `{"l":[[true],[1]]}`} {
		at = at.Add(time.Second)
		if err := e.write(t, made(t, "1", at, data)); err != nil {
			t.Fatal(err)
		}
		if got := text(t, e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 1}).Envelopes[0].Data); got != data {
			t.Errorf("%s is read as %s", data, got)
		}
	}
	for _, data := range []string{`{"l":[9007199254740993,20]}`, `{"l":[18446744073709551615,-1]}`, `{"l":[-9007199254740993,18446744073709551615,20]}`, `{"l":[[9007199254740993],[1]]}`} {
		at = at.Add(time.Second)
		made := made(t, "1", at, "{}")
		made.DataJson = []byte(data)
		if err := e.write(t, made); err != nil {
			t.Fatal(err)
		}
		if got := string(e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 1}).Envelopes[0].DataJson); got != data {
			t.Errorf("%s is read as %s", data, got)
		}
	}
}

// text is data as JSON without spaces.
func text(t *testing.T, data *structpb.Struct) string {
	t.Helper()
	b, err := protojson.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), " ", "")
}

// TestTimes writes at the ends of what can be stored, and beyond.
func TestTimes(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<28)
	for _, at := range []time.Time{
		time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC), time.Date(2261, 12, 31, 23, 59, 58, 0, time.UTC), // it is processed a second later
	} {
		if err := e.write(t, made(t, "1", at, "{}")); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{StartTime: timestamppb.New(at), EndTime: timestamppb.New(at.Add(time.Microsecond))}).Envelopes
		if len(got) != 1 || !got[0].OccurredAt.AsTime().Equal(at) {
			t.Errorf("%s is read as %v", at, got)
		}
	}
	for _, at := range []time.Time{time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2280, 6, 1, 0, 0, 0, 0, time.UTC)} {
		functiontest.WantInvalid(t, e.write(t, made(t, "1", at, "{}")), "envelopes[0].occurred_at", "envelopes[0].processed_at")
	}
	for _, nanos := range []int32{-1, 1_000_000_000} {
		no := made(t, "1", noon, "{}")
		no.OccurredAt.Nanos, no.ProcessedAt.Nanos = nanos, nanos
		functiontest.WantInvalid(t, e.write(t, no), "envelopes[0].occurred_at", "envelopes[0].processed_at")
	}
}

// TestBoundsBeyondTimes lists what the last moment that can be stored has, and the first, by
// bounds that are beyond them.
func TestBoundsBeyondTimes(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	first, last := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2261, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	for _, at := range []time.Time{first, last} {
		m := made(t, "1", at, "{}")
		m.ProcessedAt = m.OccurredAt
		if err := e.write(t, m); err != nil {
			t.Fatal(err)
		}
	}
	year := func(y int) *timestamppb.Timestamp { return timestamppb.New(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)) }
	for _, c := range []struct {
		start, end *timestamppb.Timestamp
		want       int
	}{{nil, nil, 2}, {year(1), year(9999), 2}, {year(2000), year(2262), 1}, {year(2262), nil, 0}, {year(2262), year(9999), 0}, {nil, year(1900), 0}, {nil, year(1), 0}} {
		if got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{StartTime: c.start, EndTime: c.end}).Envelopes; len(got) != c.want {
			t.Errorf("from %v to %v: %v", c.start, c.end, got)
		}
	}
}

// TestLargePages reads rows of which a page of the usual size would be larger than NATS
// takes.
func TestLargePages(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<28)
	const rows = 30
	data := `{"s":"` + strings.Repeat("x", 100_000) + `"}`
	for i := range rows {
		if err := e.write(t, made(t, strconv.Itoa(i), noon, data)); err != nil {
			t.Fatal(err)
		}
	}
	req := &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "o", EndDeviceId: "d", StartTime: timestamppb.New(noon.Add(-time.Nanosecond))}
	read, pages := map[string]bool{}, 0
	for {
		resp := e.list(t, req)
		pages++
		for _, got := range resp.Envelopes {
			read[got.EnvelopeId] = true
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if len(read) != rows || pages < 2 {
		t.Errorf("%d of %d rows on %d pages", len(read), rows, pages)
	}
}

// TestMemoryOfAPage holds that what is read for a page of large rows is bounded as the
// page is, whatever its size in rows.
func TestMemoryOfAPage(t *testing.T) { // alone: it counts what everybody allocates
	e := start(t, 1<<28)
	data := `{"s":"` + strings.Repeat("x", 900_000) + `"}`
	for i := range 100 {
		if err := e.write(t, made(t, strconv.Itoa(i), noon, data)); err != nil {
			t.Fatal(err)
		}
	}
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	resp := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 1000})
	goruntime.ReadMemStats(&after)
	if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; len(resp.Envelopes) == 0 || resp.NextPageToken == "" || mib > 100 {
		t.Errorf("a page of %d rows took %d MiB", len(resp.Envelopes), mib)
	}
}

func TestWriteIsAllOrNothing(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	good := made(t, "good", noon, `{"n":1}`)
	old := made(t, "old", time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC), `{}`)
	notJSON := made(t, "text", noon, `{}`)
	notJSON.DataJson = []byte(`[1]`)
	functiontest.WantInvalid(t, e.write(t, good, old, notJSON), "envelopes[1].occurred_at", "envelopes[1].processed_at", "envelopes[2].data_json")
	all := made(t, "all", time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), `{}`)
	all.ProcessedAt, all.DataJson = old.OccurredAt, []byte(`{"a":`)
	functiontest.WantInvalid(t, e.write(t, all), "envelopes[0].occurred_at", "envelopes[0].processed_at", "envelopes[0].data_json")
	notJSON.DataJson = []byte(`{"a":1} {"b":2}`)
	functiontest.WantInvalid(t, e.write(t, good, notJSON), "envelopes[1].data_json")
	functiontest.WantInvalid(t, e.write(t, good, made(t, "twice", noon, `{"a":{"b":1},"a.b":2}`)), "envelopes")
	noTime := made(t, "x", noon, `{}`)
	noTime.OccurredAt = nil
	functiontest.WantInvalid(t, e.write(t, noTime), "envelopes[0].occurred_at")
	functiontest.WantInvalid(t, e.write(t, noTime, notJSON), "envelopes[0].occurred_at", "envelopes[1].data_json")
	for _, n := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		none := made(t, "x", noon, `{}`)
		none.Data.Fields = map[string]*structpb.Value{"n": structpb.NewNumberValue(n)}
		functiontest.WantInvalid(t, e.write(t, good, none), "envelopes[1].data")
	}
	if n := e.count(t, ""); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// TestManyBadFields holds that a request is INVALID_ARGUMENT however many fields are bad,
// although there is no room for all of them: the first are told, in their order.
func TestManyBadFields(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	raw := make([]*envelopev1.RawEnvelope, 10_000)
	for i := range raw {
		raw[i] = &envelopev1.RawEnvelope{}
	}
	_, err := e.PublishRawEnvelopes(t.Context(), &envelopev1.PublishRawEnvelopesRequest{Envelopes: raw})
	st := status.Convert(err)
	var got []string
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				got = append(got, v.Field)
			}
		}
	}
	if st.Code() != codes.InvalidArgument || len(got) < 30 { // that is what fits into the headers of an error
		t.Fatalf("%d violations: %v", len(got), err)
	}
	for i, field := range got {
		if want := fmt.Sprintf("envelopes[%d].%s", i/2, [...]string{"organization_id", "device_id"}[i%2]); field != want {
			t.Errorf("violation %d is of %s, want %s", i, field, want)
		}
	}
}

func TestRefusedRowsAreAlone(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	for i := range 200 {
		data := `{"n":1}`
		if i == 17 || i == 150 {
			data = `{"a":{"b":1},"a.b":2}`
		}
		envelope := made(t, fmt.Sprint(i), noon, data)
		if i == 99 {
			envelope.OccurredAt = timestamppb.New(time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC))
		}
		encoded, err := proto.Marshal(envelope)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.PublishAsync("processed_envelopes.o.d", encoded); err != nil {
			t.Fatal(err)
		}
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if n := e.count(t, "FINAL"); n != 197 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	q, err := deadletter.Open(t.Context(), e.js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		var reasons []string
		if err := q.Each(t.Context(), deadletter.Filter{Function: "store"}, func(l deadletter.Letter) error {
			reasons = append(reasons, l.Reason)
			return nil
		}); err != nil {
			return err
		}
		if slices.Sort(reasons); !slices.Equal(reasons, []string{"ROW_REFUSED", "ROW_REFUSED", "TIME_OUT_OF_RANGE"}) {
			return fmt.Errorf("dead letters: %v", reasons)
		}
		return nil
	})
}

// burn uses the ids that the function is going to choose next, as whoever has seen one
// can guess them.
func (e env) burn(t *testing.T) {
	t.Helper()
	id := xid.New()
	for range 40 {
		for at := len(id) - 1; at >= 9; at-- { // the counter
			if id[at]++; id[at] != 0 {
				break
			}
		}
		for second := range uint32(3) {
			later := id
			binary.BigEndian.PutUint32(later[:], binary.BigEndian.Uint32(id[:])+second)
			if _, err := e.js.Publish(t.Context(), "raw_envelopes.o.evil", nil, jetstream.WithMsgID(later.String())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTraceOfAnEnvelope holds that an envelope goes on with the trace of the call that
// published it, and without one where its caller has none.
func TestTraceOfAnEnvelope(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	s, err := e.js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	begun := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	for want, ctx := range map[string]context.Context{
		"": t.Context(),
		"00-01000000000000000000000000000000-0200000000000000-01": trace.ContextWithSpanContext(t.Context(), begun),
	} {
		if _, err := e.PublishRawEnvelopes(ctx, &envelopev1.PublishRawEnvelopesRequest{Envelopes: []*envelopev1.RawEnvelope{{OrganizationId: "o", DeviceId: "d"}}}); err != nil {
			t.Fatal(err)
		}
		if m, err := s.GetLastMsgForSubject(t.Context(), "raw_envelopes.o.d"); err != nil || m.Header.Get("traceparent") != want {
			t.Errorf("got %v, %v, want the trace %q", m, err, want)
		}
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	raw := func(device string, size int) *envelopev1.RawEnvelope {
		return &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: device, Payload: make([]byte, size)}
	}
	publish := func(envelopes ...*envelopev1.RawEnvelope) ([]string, error) {
		resp, err := e.PublishRawEnvelopes(t.Context(), &envelopev1.PublishRawEnvelopesRequest{Envelopes: envelopes})
		return resp.GetEnvelopeIds(), err
	}
	ids, err := publish(raw("a", 1), raw("b", 1))
	if err != nil || len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("got %v, %v", ids, err)
	}
	s, err := e.js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "raw_envelopes.o.b")
	if err != nil || m.Header.Get("Nats-Msg-Id") != ids[1] {
		t.Errorf("got %v, %v", m, err)
	}
	e.burn(t)
	burnt, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids, err = publish(raw("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = s.GetLastMsgForSubject(t.Context(), "raw_envelopes.o.a"); err != nil || m.Sequence != burnt.State.LastSeq+1 || m.Header.Get("Nats-Msg-Id") != ids[0] {
		t.Errorf("after %d messages got %v, %v", burnt.State.LastSeq, m, err)
	}

	_, err = publish(raw("a", 1), raw("a.b", 1), raw("", 1))
	functiontest.WantInvalid(t, err, "envelopes[1].device_id", "envelopes[2].device_id")
	timeless := raw("a", 1)
	timeless.ReceivedAt = &timestamppb.Timestamp{Nanos: -1}
	_, err = publish(raw("a", 1), timeless)
	functiontest.WantInvalid(t, err, "envelopes[1].received_at")

	limited := burnt.Config
	limited.MaxMsgSize = 1_000
	if _, err := e.js.UpdateStream(t.Context(), limited); err != nil {
		t.Fatal(err)
	}
	_, err = publish(raw("a", 1_000))
	functiontest.WantError(t, err, codes.ResourceExhausted, "ENVELOPE_TOO_LARGE")
	if _, err := e.js.UpdateStream(t.Context(), burnt.Config); err != nil {
		t.Fatal(err)
	}

	// Nobody settles these, so the stream fills up and then refuses.
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if _, err = publish(raw("a", 100_000)); err == nil {
			return fmt.Errorf("there is still room")
		}
		return nil
	})
	functiontest.WantError(t, err, codes.ResourceExhausted, "STREAM_FULL")
	if info, err := s.Info(t.Context()); err != nil || info.State.FirstSeq != 1 {
		t.Errorf("the first message is %d, %v", info.State.FirstSeq, err)
	}
}

// TestExactInMixedLists holds that an integer beyond 2^53 stays exact in a list of many
// types, whatever lists other rows of its block have.
func TestExactInMixedLists(t *testing.T) {
	t.Parallel()
	for i, lists := range [][]string{
		{`{"a":[9007199254740993,"x"]}`},
		{`{"a":[9007199254740993,"x"]}`, `{"a":[1,"x"]}`},
		{`{"a":[1,"x"]}`, `{"a":[9007199254740993,"x"]}`},
		{`{"a":["x",1]}`, `{"a":["x",9007199254740993]}`},
		{`{"a":["x",1,[false]]}`, `{"a":["x",9223372036854775807,[false]]}`},
		{`{"a":[1,true]}`, `{"a":[9223372036854775807,true]}`},
		{`{"a":[[1],["x"]]}`, `{"a":[[9223372036854775807],["x"]]}`},
		{`{"a":[1,"x"]}`, `{"a":[18446744073709551615,"x"]}`},
		{`{"a":[1,2]}`, `{"a":[9007199254740993,2]}`, `{"a":["x",2]}`},
		{`{"a":[1,"x"],"b":9007199254740993}`, `{"a":[9007199254740993,"x"]}`},
		{`{"a":[-9007199254740993,"x"]}`, `{"a":[18446744073709551615,"x"]}`, `{"a":[9007199254740995,"x",1]}`},
		{`{"a":[[{"b":[1.5]}]]}`, `{"a":[[{"b":[9007199254740993]}]]}`},
		{`{"a":[{"b":1}],"n":9007199254740993}`, `{"a":[null,{"b":2}],"n":9007199254740993}`},
		{`{"a":[5],"b":[9007199254740993]}`, `{"a":[9007199254740993],"b":[9007199254740995]}`},
	} {
		e := start(t, 1<<20)
		var all []*envelopev1.ProcessedEnvelope
		for n, text := range lists {
			m := made(t, fmt.Sprint("e", i, n), noon.Add(time.Duration(n)*time.Second), `{}`)
			m.Data, m.DataJson = nil, []byte(text)
			all = append(all, m)
		}
		if err := e.write(t, all...); err != nil {
			t.Fatal(err)
		}
		got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
		for n, was := range lists {
			g := got[len(got)-1-n]
			shown := string(g.DataJson)
			if shown == "" {
				shown = text(t, g.Data)
			}
			if shown != was {
				t.Errorf("%v: %s became %s", lists, was, shown)
			}
		}
	}
}

// TestLargeDoubles holds that a double beyond 2^53 is no integer when it is read, although
// ClickHouse writes it like one: 2^60 has three digits more than it shows.
func TestLargeDoubles(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	want := made(t, "1", noon, `{"x":1152921504606846976,"l":[1e17,2.5],"ll":[[1e18]],"o":{"y":1.2345678901234567e19},"":{"y":1e17,"":1e18},"text":"<1152921504606846976>"}`)
	mixed := made(t, "2", noon.Add(time.Second), `{}`)
	mixed.Data, mixed.DataJson = nil, []byte(`{"d":1.152921504606846976e18,"l":[{"d":9007199254740993}],"ld":1e17,"n":9007199254740993,"o":{"text":"<&>"}}`)
	if err := e.write(t, want, mixed); err != nil {
		t.Fatal(err)
	}
	got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
	if len(got) != 2 || !proto.Equal(got[1], want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if s := string(got[0].DataJson); s != `{"d":1.152921504606847e+18,"l":[{"d":9007199254740993}],"ld":1e+17,"n":9007199254740993,"o":{"text":"<&>"}}` {
		t.Errorf("got %s", s)
	}
}

// TestNullsInLists holds that null in a list stays null, whatever lists other rows of its
// block have.
func TestNullsInLists(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	for i, data := range [][]string{
		{`{"a":[{"b":1}]}`, `{"a":[null,{"b":2}]}`},
		{`{"a":[{"b":1}]}`, `{"a":[{"b":2},null]}`},
		{`{"a":[[1]]}`, `{"a":[null]}`},
		{`{"a":[[[1]]]}`, `{"a":[[null]]}`},
		{`{"a":[[1]],"b":[null]}`, `{"a":[null]}`},
		{`{"a":[{"c":1}],"b":[null]}`, `{"a":[null]}`},
	} {
		var all []*envelopev1.ProcessedEnvelope
		for n, text := range data {
			all = append(all, made(t, "e", noon.Add(time.Duration(2*i+n)*time.Second), text))
		}
		if err := e.write(t, all...); err != nil {
			t.Fatal(err)
		}
		got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 2}).Envelopes
		for n, was := range data {
			if shown := text(t, got[1-n].Data); shown != was {
				t.Errorf("%v: %s became %s", data, was, shown)
			}
		}
	}
}

// TestOldDefaults holds that what is read is what was written also with the settings that
// the oldest ClickHouse has which we take, and with a profile that has numbers as texts.
func TestOldDefaults(t *testing.T) {
	t.Parallel()
	e := startWith(t, 1<<20, func(o *clickhouse.Options) {
		o.Settings["compatibility"], o.Settings["output_format_json_quote_64bit_floats"] = "25.3", 1
	})
	for i, data := range []string{`{"n":9007199254740993}`, `{"l":[9007199254740993,"x"]}`, `{"l":[18446744073709551615,20]}`, `{"l":[1,"x"]}`, `{"l":[["x"],[1.5]]}`, `{"n":1.5}`} {
		m := made(t, "e", noon.Add(time.Duration(i)*time.Second), `{}`)
		m.Data, m.DataJson = nil, []byte(data)
		if err := e.write(t, m); err != nil {
			t.Fatal(err)
		}
		got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{PageSize: 1}).Envelopes[0]
		if string(got.DataJson) != data && text(t, got.Data) != data {
			t.Errorf("%s is read as %v", data, got)
		}
	}
}

// TestInsertsAreNotCollected holds that ClickHouse writes a block at once: whether it collects
// inserts first, as it does by itself from 26.2 on, and answers before, is up to its settings.
func TestInsertsAreNotCollected(t *testing.T) {
	t.Parallel()
	e := startWith(t, 1<<20, func(o *clickhouse.Options) { o.Settings["async_insert"], o.Settings["wait_for_async_insert"] = 1, 0 })
	if err := e.db.Exec(t.Context(), "ALTER TABLE processed_envelopes ADD COLUMN collected UInt8 DEFAULT getSetting('async_insert')"); err != nil {
		t.Fatal(err)
	}
	if err := e.write(t, made(t, "text", noon, `{"l":[1]}`), made(t, "values", noon, `{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	if n := e.count(t, "WHERE collected = 0"); n != 2 {
		t.Errorf("%d rows of 2 were written at once", n)
	}
}
