package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// sendRaw publishes an envelope of a device on its own subject, with an id unless that
// is empty.
func sendRaw(t *testing.T, js jetstream.JetStream, id, org, device string) {
	t.Helper()
	if ack, err := js.PublishMsg(t.Context(), rawMessage(t, id, org, device)); err != nil || ack.Duplicate {
		t.Fatalf("%v, %v", ack, err)
	}
}

// rawMessage is what sendRaw publishes.
func rawMessage(t *testing.T, id, org, device string) *nats.Msg {
	t.Helper()
	data, err := wire.Marshal(&envelopev1.RawEnvelope{OrganizationId: org, DeviceId: device}, false)
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: "raw_envelopes." + org + "." + device, Data: data, Header: nats.Header{}}
	if id != "" {
		m.Header.Set(jetstream.MsgIDHeader, id)
	}
	return m
}

// wantResults waits until the raw envelopes, which are so many, are settled, and wants
// results on these subjects.
func wantResults(t *testing.T, js jetstream.JetStream, n uint64, subjects ...string) {
	t.Helper()
	eventually(t, "all is settled", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == n
	})
	s, err := js.Stream(t.Context(), "processed_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(info.State.Subjects)); !slices.Equal(got, subjects) || info.State.Msgs != n {
		t.Errorf("%d results, of %v; want %d, of %v", info.State.Msgs, got, n, subjects)
	}
}

// resultID is the envelope's id of a result.
func resultID(t *testing.T, js jetstream.JetStream, sequence uint64) string {
	t.Helper()
	s, err := js.Stream(t.Context(), "processed_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	var e envelopev1.ProcessedEnvelope
	if err := wire.Unmarshal(m.Data, &e); err != nil {
		t.Fatal(err)
	}
	return e.EnvelopeId
}

// TestForeignID has a device give its message the id that the next of another tenant's
// is going to get from the stream: that one is not taken for a repeat.
func TestForeignID(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, identity())
	sendRaw(t, js, "", "evil", "e")
	wantResults(t, js, 1, "processed_envelopes.evil.e")
	id := resultID(t, js, 1)
	sendRaw(t, js, id[:len(id)-1]+"3", "evil", "e") // <epoch>-1, of the first
	wantResults(t, js, 2, "processed_envelopes.evil.e")
	sendRaw(t, js, "", "victim", "v")
	wantResults(t, js, 3, "processed_envelopes.evil.e", "processed_envelopes.victim.v")
}

// TestAnyID has devices give their messages ids of any length and bytes that NATS takes:
// each of the results has an id of its own, with which it is valid.
func TestAnyID(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, identity())
	ids := []string{"caf\xe9", "\xff\x00"}
	for _, n := range []int{255, 256, 1024, 60_000} {
		ids = append(ids, strings.Repeat("x", n))
	}
	for _, id := range ids {
		sendRaw(t, js, id, "o", "d")
	}
	wantResults(t, js, uint64(len(ids)), "processed_envelopes.o.d")
	s, err := js.Stream(t.Context(), "processed_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for n := range ids {
		m, err := s.GetMsg(t.Context(), uint64(n+1))
		if err != nil {
			t.Fatal(err)
		}
		var e envelopev1.ProcessedEnvelope
		if err := wire.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		e.OccurredAt = timestamppb.Now()
		if err := protovalidate.Validate(&e); err != nil || seen[e.EnvelopeId] {
			t.Errorf("an id of %d bytes, there before: %v; %v", len(e.EnvelopeId), seen[e.EnvelopeId], err)
		}
		seen[e.EnvelopeId] = true
	}
}

// TestSameIDOfTwoDevices has both send it before anything of them is converted.
func TestSameIDOfTwoDevices(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	beforeConversion(t, nc, js, "a", "b")
	start(t, nc, identity())
	wantResults(t, js, 2, "processed_envelopes.o.a", "processed_envelopes.o.b")
}

// beforeConversion sends the same id for both, further apart than JetStream knows ids, while
// nothing is converted.
func beforeConversion(t *testing.T, nc *nats.Conn, js jetstream.JetStream, first, second string) {
	t.Helper()
	cfg := testStreams()
	if err := runtime.Prepare(t.Context(), runtime.Config{Conn: nc, Streams: cfg}, identity()); err != nil {
		t.Fatal(err)
	}
	short := cfg.RawEnvelopes().StreamConfig
	short.Duplicates = 100 * time.Millisecond
	if _, err := js.UpdateStream(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	sendRaw(t, js, "1", "o", first)
	again := rawMessage(t, "1", "o", second)
	runtimetest.Eventually(t, 10*time.Second, func() error { // of a repeat nothing is stored
		ack, err := js.PublishMsg(t.Context(), again)
		if err == nil && ack.Duplicate {
			err = errors.New("JetStream still knows the id")
		}
		return err
	})
}

// TestSameIDOfOneDevice has a device count from 1 again, as after it was switched off and on,
// before anything of it is converted.
func TestSameIDOfOneDevice(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	beforeConversion(t, nc, js, "a", "a")
	start(t, nc, identity())
	wantResults(t, js, 2, "processed_envelopes.o.a")
}

// TestStreamDeleted has an instance make a deleted stream again, whose sequences begin
// anew: what is sent then is no repeat of what was.
func TestStreamDeleted(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, identity())
	sendRaw(t, js, "", "o", "a")
	wantResults(t, js, 1, "processed_envelopes.o.a")
	if err := js.DeleteStream(t.Context(), "raw_envelopes"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream is there again", func() bool {
		_, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil
	})
	sendRaw(t, js, "", "o", "a")
	eventually(t, "there is another result", func() bool {
		s, err := js.Stream(t.Context(), "processed_envelopes")
		return err == nil && s.CachedInfo().State.Msgs == 2
	})
	if first, second := resultID(t, js, 1), resultID(t, js, 2); first == second {
		t.Errorf("both have the id %s", first)
	}
}

// TestTargetsDeleted takes away the streams that results and dead letters go to: they are
// made again, and have what was sent meanwhile.
func TestTargetsDeleted(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, identity())
	for _, name := range []string{"processed_envelopes", "dead_letters"} {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, nc, "fine", "undecodable")
	for _, name := range []string{"processed_envelopes", "dead_letters"} {
		eventually(t, name+" has a message", func() bool {
			s, err := js.Stream(t.Context(), name)
			return err == nil && s.CachedInfo().State.Msgs == 1
		})
	}
}

// TestStreamReplaced has somebody delete a stream and make it again while an instance asks
// for nothing, so that it is not told, and goes on: what comes of the new stream has ids of
// that one, and what was pulled of the old one has not.
func TestStreamReplaced(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	goOn, old, fresh := make(chan struct{}), make(chan string, 100), make(chan string, 1)
	start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(ctx context.Context, e *envelopev1.RawEnvelope) error {
		<-goOn
		if id := runtime.MessageFrom(ctx).ID; e.DeviceId == "fresh" {
			fresh <- id
		} else {
			old <- id
		}
		return nil
	})))
	for range 100 {
		publish(t, nc, "old")
	}
	eventually(t, "no request for messages waits", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().NumAckPending > 0 && c.CachedInfo().NumWaiting == 0
	})
	if err := js.DeleteStream(t.Context(), "raw_envelopes"); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, testStreams().RawEnvelopes()); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.o.d", Header: nats.Header{"Status": {"100"}}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance has looked at the stream", func() bool { return len(letters(t, nc)) == 1 })
	publish(t, nc, "fresh")
	close(goOn)
	s, err := js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	want := strconv.FormatInt(m.Time.UnixNano(), 36) + "-2"
	if id := <-fresh; id != want {
		t.Errorf("the id is %s, want %s", id, want)
	}
	created := strconv.FormatInt(s.CachedInfo().Created.UnixNano(), 36)
	for len(old) > 0 {
		if id := <-old; id >= created { // both have as many digits
			t.Errorf("%s is of the new stream, made at %s", id, created)
		}
	}
}

// TestStreamRestored restores a stream from a backup that is older than what was made of its
// message: that comes again, and is still one.
func TestStreamRestored(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := runtime.Config{Conn: nc, Streams: testStreams()}
	if err := runtime.Prepare(t.Context(), cfg, identity()); err != nil {
		t.Fatal(err)
	}
	sendRaw(t, js, "", "o", "a")
	restore := backup(t, nc, "raw_envelopes")
	host, err := runtime.Start(t.Context(), cfg, identity())
	if err != nil {
		t.Fatal(err)
	}
	wantResults(t, js, 1, "processed_envelopes.o.a")
	if err := errors.Join(host.Stop(), js.DeleteStream(t.Context(), "raw_envelopes")); err != nil {
		t.Fatal(err)
	}
	restore()
	start(t, nc, identity())
	wantResults(t, js, 1, "processed_envelopes.o.a")
}

// backup is `nats stream backup`, consumers and all, and returns `nats stream restore`.
func backup(t *testing.T, nc *nats.Conn, stream string) (restore func()) {
	t.Helper()
	ask := func(subject string, request []byte) (reply []byte) {
		t.Helper()
		m, err := nc.Request(subject, request, 10*time.Second)
		if err != nil || strings.Contains(string(m.Data), `"error"`) {
			t.Fatalf("%s: %v, %v", subject, err, m)
		}
		return m.Data
	}
	chunks, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	var about map[string]any
	if err := json.Unmarshal(ask("$JS.API.STREAM.SNAPSHOT."+stream, []byte(`{"deliver_subject":"`+chunks.Subject+`"}`)), &about); err != nil {
		t.Fatal(err)
	}
	delete(about, "type") // all else is what the server wants to know again
	request, err := json.Marshal(about)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for len(all) == 0 || len(all[len(all)-1]) > 0 { // an empty one is the end
		m, err := chunks.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Data)
		m.Respond(nil) //nolint:errcheck // the server would send no more
	}
	return func() {
		var to struct {
			Subject string `json:"deliver_subject"`
		}
		if err := json.Unmarshal(ask("$JS.API.STREAM.RESTORE."+stream, request), &to); err != nil {
			t.Fatal(err)
		}
		for _, data := range all {
			ask(to.Subject, data)
		}
	}
}

// TestReplayIntoAnotherStream replays a letter after its stream was deleted and made again:
// the message has the sequence and the time that it had, and dies again. Its letter is not
// taken for a repeat of the one that it was replayed from.
func TestReplayIntoAnotherStream(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), streams.Convert, func(context.Context, *envelopev1.RawEnvelope) error {
		return runtime.Terminate(runtime.Error(codes.InvalidArgument, "BAD", "it is bad"))
	})))
	sendRaw(t, js, "", "o", "d")
	eventually(t, "it is dead", func() bool { return len(letters(t, nc)) == 1 })
	if err := js.DeleteStream(t.Context(), "raw_envelopes"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream is there again", func() bool {
		_, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil
	})
	q, err := deadletter.Open(t.Context(), js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	l, err := q.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Replay(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is settled", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == 1
	})
	if again, err := q.Get(t.Context(), 2); err != nil || again.ID != l.ID || !again.Stored.Equal(l.Stored) {
		t.Errorf("the letter that follows is %v, %v", again, err)
	}
}
