package runtime_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// publish puts raw envelopes for these devices on the stream.
func publish(t *testing.T, nc *nats.Conn, devices ...string) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		data, err := wire.Marshal(&envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: d}, false)
		if err != nil {
			t.Fatal(err)
		}
		if d == "undecodable" {
			data = []byte{0xff}
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.o." + d, Data: data, Header: nats.Header{"Custom": {"kept"}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func letters(t *testing.T, nc *nats.Conn) map[string]deadletter.Letter {
	t.Helper()
	js, _ := jetstream.New(nc)
	q, err := deadletter.Open(t.Context(), js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]deadletter.Letter{}
	if err := q.Each(t.Context(), deadletter.Filter{}, func(l deadletter.Letter) (err error) { out[l.Reason], err = q.Get(t.Context(), l.Number); return err }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFateOfAMessage(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	var retries, done, panicked, waited atomic.Int64
	start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(ctx context.Context, e *envelopev1.RawEnvelope) error {
		m := runtime.MessageFrom(ctx)
		switch e.DeviceId {
		case "never":
			return runtime.Terminate(runtime.Error(codes.InvalidArgument, "NEVER", "this can never work"))
		case "later":
			if m.Attempt < 3 {
				retries.Add(1)
				return runtime.RetryAfter(10*time.Millisecond, errors.New("not yet"))
			}
		case "panics":
			if m.Attempt < 2 {
				panicked.Store(time.Now().UnixNano())
				panic("once")
			}
			waited.Store(time.Now().UnixNano() - panicked.Load())
		}
		done.Add(1)
		return nil
	})))
	publish(t, nc, "fine", "never", "later", "undecodable", "panics")
	eventually(t, "three done, two retries, two dead", func() bool { return done.Load() == 3 && retries.Load() == 2 && len(letters(t, nc)) == 2 })
	if d := time.Duration(waited.Load()); d < 250*time.Millisecond { // half of the first delay
		t.Errorf("what has failed came again after %v", d)
	}
	l := letters(t, nc)["NEVER"]
	if l.Error != "this can never work" || l.Function != "convert" || l.Subject != "raw_envelopes.o.never" || l.Header.Get("Custom") != "kept" || l.Sequence != 2 || l.Deliveries != 1 || len(l.Payload) == 0 || l.TraceID == "" || l.ID == "" {
		t.Errorf("%+v", l)
	}
	if l := letters(t, nc)["UNDECODABLE"]; l.Sequence != 4 || string(l.Payload) != "\xff" {
		t.Errorf("%+v", l)
	}
	js, _ := jetstream.New(nc)
	eventually(t, "all settled", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().NumAckPending == 0 && c.CachedInfo().AckFloor.Stream == 5
	})
}

// TestLettersOfAnySize buries a message that is as large as NATS takes, and one
// whose result is no text.
func TestLettersOfAnySize(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	cfg := testStreams()
	start(t, nc, runtime.Func("convert", runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
		func(*envelopev1.ProcessedEnvelope) []string { return []string{"o", "d"} },
		func(_ context.Context, e *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
			if len(e.Payload) > 0 {
				return nil, runtime.Terminate(runtime.Error(codes.InvalidArgument, "PAYLOAD_TOO_LARGE", "no"))
			}
			return &envelopev1.ProcessedEnvelope{EnvelopeId: "\xff"}, nil
		})))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	size := int(nc.MaxPayload()) - 5
	large := binary.AppendUvarint([]byte{0x1a}, uint64(size-4))
	large = append(large, make([]byte, size-4)...)
	if _, err := js.Publish(t.Context(), "raw_envelopes.o.d", large); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "raw_envelopes.o.d", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are dead", func() bool { return len(letters(t, nc)) == 2 })
	l := letters(t, nc)["PAYLOAD_TOO_LARGE"]
	if l.Size != len(large) || !bytes.HasPrefix(large, l.Payload) || len(l.Payload) == 0 {
		t.Errorf("%d bytes of %d", len(l.Payload), l.Size)
	}
	q, err := deadletter.Open(t.Context(), js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Replay(t.Context(), l); err == nil {
		t.Error("a part of a message was replayed")
	}
	if _, ok := letters(t, nc)["UNENCODABLE"]; !ok {
		t.Errorf("the letters are %v", letters(t, nc))
	}
}

// TestLettersOfLongHeaders buries messages whose letters have no room for all of their
// headers: they have the whole payload, and can be replayed.
func TestLettersOfLongHeaders(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(_ context.Context, e *envelopev1.RawEnvelope) error {
		return runtime.Terminate(runtime.Error(codes.InvalidArgument, e.DeviceId, "no"))
	})))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	q, err := deadletter.Open(t.Context(), js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	header := strings.Repeat("x", 65_200)
	for reason, size := range map[string]int{"HEADERS": 10_000, "ALL": int(nc.MaxPayload()) - len(header) - 200} {
		data, err := wire.Marshal(&envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: reason, Payload: make([]byte, size)}, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.o.d", Data: data, Header: nats.Header{"Long": {header}, "Kept": {"yes"}}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is dead", func() bool { return letters(t, nc)[reason].Number > 0 })
		l := letters(t, nc)[reason]
		if l.Size != 0 || !bytes.Equal(l.Payload, data) || l.Header.Get("Kept") != "yes" {
			t.Errorf("%s: %d bytes of %d, %v", reason, len(l.Payload), len(data), l.Header.Get("Kept"))
		}
		if err := q.Replay(t.Context(), l); err != nil {
			t.Error(err)
		}
	}
}

func TestReplayKeepsTheIdentity(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	var mended atomic.Bool
	ids := make(chan runtime.Message, 8)
	start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(ctx context.Context, _ *envelopev1.RawEnvelope) error {
		ids <- runtime.MessageFrom(ctx)
		if !mended.Load() {
			return runtime.Terminate(runtime.Error(codes.FailedPrecondition, "BROKEN", "not mended yet"))
		}
		return nil
	})))
	publish(t, nc, "d")
	first := <-ids
	js, _ := jetstream.New(nc)
	q, err := deadletter.Open(t.Context(), js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // replayed while still broken, it dies again and is not lost
		eventually(t, "dead", func() bool { return len(letters(t, nc)) == 1 })
		if err := q.Replay(t.Context(), letters(t, nc)["BROKEN"]); err != nil {
			t.Fatal(err)
		}
		if m := <-ids; m.ID != first.ID || !m.Stored.Equal(first.Stored) {
			t.Errorf("first %+v, replayed %+v", first, m)
		}
	}
}

func TestTransformPublishesOnceWithTheMessagesID(t *testing.T) {
	t.Parallel()
	for name, atomic := range map[string]bool{"one by one": false, "in batches": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			publishesOnce(t, atomic)
		})
	}
}

func publishesOnce(t *testing.T, atomic bool) {
	nc := runtimetest.NATS(t)
	cfg := testStreams()
	cfg.Atomic = atomic
	startWith(t, nc, cfg, runtime.Func("convert", runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
		func(e *envelopev1.ProcessedEnvelope) []string { return []string{e.OrganizationId, e.EndDeviceId} },
		func(ctx context.Context, e *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
			return &envelopev1.ProcessedEnvelope{OrganizationId: e.OrganizationId, EndDeviceId: e.DeviceId, EnvelopeId: runtime.MessageFrom(ctx).ID}, nil
		})))
	publish(t, nc, "a", "b", "c", "undecodable")
	js, _ := jetstream.New(nc)
	s, err := js.Stream(t.Context(), "processed_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "three results and a dead letter", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == 3 && len(letters(t, nc)) == 1
	})
	m, err := s.GetLastMsgForSubject(t.Context(), "processed_envelopes.o.b")
	if err != nil {
		t.Fatal(err)
	}
	from, err := js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := from.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	var e envelopev1.ProcessedEnvelope
	stored := strconv.FormatInt(raw.Time.UnixNano(), 36)
	if err := wire.Unmarshal(m.Data, &e); err != nil || e.EnvelopeId == "" || m.Header.Get("Nats-Msg-Id") != "b "+stored+" "+e.EnvelopeId {
		t.Errorf("%v %v: %v", m.Header, &e, err)
	}
}

// whole reads a message that is a RawEnvelope.
func whole(payload []byte, decode func([]byte) (*envelopev1.RawEnvelope, error)) (*envelopev1.RawEnvelope, error) {
	return decode(payload)
}

func TestBatchSettlesEachMessage(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	var seen atomic.Int64
	var again atomic.Bool
	start(t, nc, runtime.Func("store", runtime.OnBatch(testStreams().RawEnvelopes(), "convert", runtime.Batch{Size: 3, Wait: 200 * time.Millisecond}, whole, func(_ context.Context, batch []*envelopev1.RawEnvelope) error {
		errs := make(runtime.BatchError, len(batch))
		for i, e := range batch {
			seen.Add(1)
			switch {
			case e.DeviceId == "bad":
				errs[i] = runtime.Terminate(runtime.Error(codes.InvalidArgument, "REFUSED", "the row was refused"))
			case e.DeviceId == "later" && !again.Swap(true):
				errs[i] = runtime.RetryAfter(time.Millisecond, errors.New("not yet"))
			}
		}
		if len(batch) > 3 {
			t.Errorf("a batch of %d", len(batch))
		}
		return errs
	})))
	publish(t, nc, "a", "bad", "later", "c", "d", "undecodable")
	js, _ := jetstream.New(nc)
	eventually(t, "all settled", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == 6 && seen.Load() == 6 && len(letters(t, nc)) == 2
	})
	if letters(t, nc)["REFUSED"].TraceID == "" {
		t.Error("the letter has no trace")
	}
}

// TestBatchCounts counts a message that cannot be read as handled and failed, as triggers
// of single messages do, and one that is in a batch that panics, and in its halves, once.
func TestBatchCounts(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	cfg := testStreams()
	var calls atomic.Int64
	fn := runtime.Func("store", runtime.OnBatch(cfg.RawEnvelopes(), "convert", runtime.Batch{Size: 5, Wait: 20 * time.Millisecond}, whole, func(_ context.Context, batch []*envelopev1.RawEnvelope) error {
		if slices.ContainsFunc(batch, func(e *envelopev1.RawEnvelope) bool { return e.DeviceId == "bad" }) && calls.Add(1) <= 3 { // of four, two and one
			panic("cannot be handled")
		}
		return nil
	}))
	if err := runtime.Prepare(t.Context(), runtime.Config{Conn: nc, Streams: cfg}, fn); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "a", "bad", "c", "d", "undecodable")
	h := start(t, nc, fn)
	js, _ := jetstream.New(nc)
	eventually(t, "all settled", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == 5
	})
	body := metrics(h)
	for name, want := range map[string]string{"handled_total": "6", "errors_total": "2", "retried_total": "1", "dead_letters_total": "1"} { // one of them twice
		if line := fmt.Sprintf("ponix_%s{binding=\"raw_envelopes/convert\",function=\"store\"} %s\n", name, want); !strings.Contains(body, line) {
			t.Errorf("there is no %s in\n%s", line, body)
		}
	}
}

// TestBatchesLogOnceASecond has a batch of each message, and all of them fail: that must not
// fill the disk.
func TestBatchesLogOnceASecond(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	cfg := testStreams()
	var log runtimetest.Text
	var calls atomic.Int64
	began := time.Now()
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Logger: slog.New(slog.NewTextHandler(&log, nil))},
		runtime.Func("store", runtime.OnBatch(cfg.RawEnvelopes(), "convert", runtime.Batch{Size: 1},
			func(payload []byte, decode func([]byte) (*envelopev1.RawEnvelope, error)) (*envelopev1.RawEnvelope, error) {
				e, err := decode(payload)
				if err == nil && e.DeviceId == "unreadable" {
					calls.Add(1)
					panic("cannot be read")
				}
				return e, err
			},
			func(context.Context, []*envelopev1.RawEnvelope) error {
				calls.Add(1)
				return errors.New("the disk is on fire")
			})))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Stop() //nolint:errcheck // the test is over
	const n = 200
	for range n / 2 {
		publish(t, nc, "a", "unreadable")
	}
	eventually(t, "all are tried", func() bool { return calls.Load() >= n })
	if lines, most := strings.Count(log.String(), "level=ERROR"), 2+int(time.Since(began)/time.Second); lines == 0 || lines > most {
		t.Errorf("%d lines of errors in %v, %d at most", lines, time.Since(began), most)
	}
}

// TestSilenceIsLogged holds that work which nobody waits for, and which ran out of time, is in
// the log: something that it needs is silent.
func TestSilenceIsLogged(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	cfg := testStreams()
	var log runtimetest.Text
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Logger: slog.New(slog.NewTextHandler(&log, nil))}, runtime.Func("patient",
		runtime.OnMessage(cfg.RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error { return context.DeadlineExceeded }),
		runtime.OnBatch(cfg.ProcessedEnvelopes(), "store", runtime.Batch{Size: 1}, whole, func(context.Context, []*envelopev1.RawEnvelope) error {
			return runtime.BatchError{context.DeadlineExceeded}
		}),
		runtime.Source("source", func(context.Context) error { return context.DeadlineExceeded })))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Stop() //nolint:errcheck // the test is over
	publish(t, nc, "a")
	if err := nc.Publish("processed_envelopes.o.a", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"raw_envelopes/convert", "processed_envelopes/store", "source"} {
		runtimetest.Eventually(t, time.Minute, func() error {
			if !strings.Contains(log.String(), "level=WARN msg=call function=patient source="+source+" ") {
				return errors.New(source + " is not logged")
			}
			return nil
		})
	}
}

// TestStopGivesBack stops an instance that has pulled more than it has begun. Another
// one gets the rest at once, long before AckWait.
func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	begun, goOn := make(chan struct{}, 100), make(chan struct{})
	var first, second atomic.Int64
	fn := func(done *atomic.Int64) runtime.Function {
		return runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error {
			begun <- struct{}{}
			<-goOn
			done.Add(1)
			return nil
		}))
	}
	h := start(t, nc, fn(&first))
	const all = 20
	for range all {
		publish(t, nc, "d")
	}
	<-begun
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "more is pulled than runs", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().NumAckPending > 4
	})
	stopped := make(chan error)
	go func() { stopped <- h.Stop() }()
	close(goOn)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	start(t, nc, fn(&second))
	eventually(t, "the other instance does the rest", func() bool { return first.Load()+second.Load() == all })
}

// TestStopWithoutNATS waits for calls, of which there are none, and not for what can
// only be told to NATS.
func TestStopWithoutNATS(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	nc := runtimetest.Connect(t, srv, nats.MaxReconnects(-1))
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: testStreams(), Logger: slog.New(slog.DiscardHandler)}, runtime.Func("convert",
		runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error { return nil }),
		runtime.Endpoint(getRPC, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
			return nil, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	eventually(t, "the connection is gone", func() bool { return !nc.IsConnected() })
	began := time.Now()
	if err := h.Stop(); !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("%v, want %v", err, nats.ErrDisconnected)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestSettledWithoutNATS has many messages in hand when NATS goes away: what cannot be
// told to it are a few lines of the log, and not one for each.
func TestSettledWithoutNATS(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	nc := runtimetest.Connect(t, srv, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	var log strings.Builder // of one line at a time
	const each = 50
	var begun, ended atomic.Int64
	goOn := make(chan struct{})
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: testStreams(), Logger: slog.New(slog.NewTextHandler(&log, nil))}, runtime.Func("convert",
		runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(_ context.Context, e *envelopev1.RawEnvelope) error {
			begun.Add(1)
			<-goOn
			defer ended.Add(1)
			if e.DeviceId == "bad" {
				return runtime.Terminate(errors.New("bad"))
			}
			return nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, append(slices.Repeat([]string{"good"}, each), slices.Repeat([]string{"bad"}, each)...)...)
	eventually(t, "all are in hand", func() bool { return begun.Load() == 2*each })
	srv.Shutdown()
	eventually(t, "the connection is gone", func() bool { return !nc.IsConnected() })
	close(goOn)
	if err := h.Stop(); !errors.Is(err, nats.ErrDisconnected) || ended.Load() != 2*each {
		t.Errorf("%d have ended, and %v", ended.Load(), err)
	}
	for _, msg := range []string{"msg=settle ", `msg="dead letter" `} {
		if n := strings.Count(log.String(), msg); n < 1 || n > each/2 {
			t.Errorf("%d lines with %s in\n%s", n, msg, &log)
		}
	}
}

// TestConsumerDeleted takes the consumer away from an instance, which makes it again.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, identity())
	sendRaw(t, js, "", "o", "a")
	wantResults(t, js, 1, "processed_envelopes.o.a")
	if err := js.DeleteConsumer(t.Context(), "raw_envelopes", "convert"); err != nil {
		t.Fatal(err)
	}
	sendRaw(t, js, "", "o", "b")
	wantResults(t, js, 2, "processed_envelopes.o.a", "processed_envelopes.o.b")
}

// TestSmallRequests has a server that lets nobody ask for as many messages at once as
// triggers would.
func TestSmallRequests(t *testing.T) {
	t.Parallel()
	nc := runtimetest.Connect(t, runtimetest.NATSServer(t, func(o *server.Options) { o.JetStreamLimits.MaxRequestBatch = 100 }))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, identity())
	sendRaw(t, js, "", "o", "a")
	wantResults(t, js, 1, "processed_envelopes.o.a")
}

// TestRequestsAreNotTiny has a trigger of one message at a time: it asks for more of them, or
// nats.go may forget to ask again.
func TestRequestsAreNotTiny(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	asked, err := nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.raw_envelopes.convert")
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, runtime.Func("store", runtime.OnBatch(testStreams().RawEnvelopes(), "convert", runtime.Batch{Size: 1}, whole,
		func(context.Context, []*envelopev1.RawEnvelope) error { return nil })))
	msg, err := asked.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var request struct{ Batch int }
	if err := json.Unmarshal(msg.Data, &request); err != nil || request.Batch < 64 {
		t.Errorf("%s, %v", msg.Data, err)
	}
}

// forgetful is a server that does not get one request for messages, the second: whoever sends
// it might as well have forgotten to.
type forgetful struct {
	*server.Server
	requests atomic.Int64
}

func (f *forgetful) InProcessConn() (net.Conn, error) {
	c, err := f.Server.InProcessConn()
	return forgetfulConn{c, f}, err
}

type forgetfulConn struct {
	net.Conn
	server *forgetful
}

func (c forgetfulConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("PUB $JS.API.CONSUMER.MSG.NEXT.raw_envelopes.convert ")) && c.server.requests.Add(1) == 2 {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestForgottenRequest has an instance whose request for more messages is not sent: it asks
// again in seconds, and not after half a minute.
func TestForgottenRequest(t *testing.T) {
	t.Parallel()
	srv := &forgetful{Server: runtimetest.NATSServer(t)}
	nc := runtimetest.Connect(t, srv.Server, nats.InProcessServer(srv))
	var done atomic.Int64
	start(t, nc, runtime.Func("store", runtime.OnBatch(testStreams().RawEnvelopes(), "convert", runtime.Batch{Size: 1}, whole,
		func(context.Context, []*envelopev1.RawEnvelope) error { done.Add(1); return nil })))
	others := runtimetest.Connect(t, srv.Server)
	const all = 100
	for range all {
		publish(t, others, "d")
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if n := done.Load(); n < all {
			return fmt.Errorf("%d of %d are done", n, all)
		}
		return nil
	})
	if n := srv.requests.Load(); n < 3 {
		t.Errorf("%d requests", n)
	}
}

// busy is an instance that has n messages in hand and asks for no more, until goOn is closed.
func busy(t *testing.T, n int) (nc *nats.Conn, js jetstream.JetStream, goOn chan struct{}) {
	t.Helper()
	nc, goOn = runtimetest.NATS(t), make(chan struct{})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(context.Context, *envelopev1.RawEnvelope) error {
		<-goOn
		return nil
	})))
	for range n {
		publish(t, nc, "d")
	}
	eventually(t, "no request for messages waits", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().NumAckPending > 0 && c.CachedInfo().NumWaiting == 0
	})
	return nc, js, goOn
}

// TestConsumerDeletedWhileBusy does so while the instance asks for nothing, so that the
// server has nobody to tell.
func TestConsumerDeletedWhileBusy(t *testing.T) {
	t.Parallel()
	const all = 100
	_, js, goOn := busy(t, all)
	if err := js.DeleteConsumer(t.Context(), "raw_envelopes", "convert"); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	eventually(t, "all is done", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && c.CachedInfo().AckFloor.Stream == all
	})
}

// TestPanicInABatch has a reader and a handler panic over one message each: the others
// are done at once, and the process lives.
func TestPanicInABatch(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	start(t, nc, runtime.Func("store", runtime.OnBatch(testStreams().RawEnvelopes(), "convert", runtime.Batch{Wait: 200 * time.Millisecond},
		func(payload []byte, decode func([]byte) (*envelopev1.RawEnvelope, error)) (*envelopev1.RawEnvelope, error) {
			e, err := decode(payload)
			if err == nil && e.DeviceId == "unreadable" {
				panic("cannot be read")
			}
			return e, err
		},
		func(_ context.Context, batch []*envelopev1.RawEnvelope) error {
			for _, e := range batch {
				if e.DeviceId == "bad" {
					panic("cannot be handled")
				}
			}
			done.Add(int64(len(batch)))
			return nil
		})))
	publish(t, nc, "a", "b", "unreadable", "c", "bad", "d", "e")
	eventually(t, "all but two are done", func() bool {
		c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
		return err == nil && done.Load() == 5 && c.CachedInfo().NumAckPending == 2
	})
}

// TestPanicsAreCounted has a message that makes its handler panic and was delivered four
// times before, and one that is new: the first is dead, the second comes again.
func TestPanicsAreCounted(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	panics := runtime.Func("convert", runtime.OnMessage(testStreams().RawEnvelopes(), "convert", func(_ context.Context, e *envelopev1.RawEnvelope) error {
		panic(e.DeviceId)
	}))
	if err := runtime.Prepare(t.Context(), runtime.Config{Conn: nc, Streams: testStreams()}, panics); err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "known")
	for range 4 {
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, nc, "new")
	start(t, nc, panics)
	eventually(t, "one is dead, and one waits", func() bool {
		info, err := c.Info(t.Context())
		return err == nil && len(letters(t, nc)) > 0 && info.NumAckPending == 1
	})
	if l := letters(t, nc)["PANIC"]; l.Error != "panic: known" || l.Deliveries != 5 {
		t.Errorf("%+v", l)
	}
}

// TestTraceOfResults holds that a result goes on with the trace of its message, also after
// messages without one, and has none where nobody has begun one.
func TestTraceOfResults(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Logger: slog.New(slog.DiscardHandler)},
		runtime.Func("convert", runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
			func(e *envelopev1.ProcessedEnvelope) []string { return []string{"o", e.EndDeviceId} },
			func(_ context.Context, e *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
				return &envelopev1.ProcessedEnvelope{EndDeviceId: e.DeviceId}, nil
			})))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Stop() //nolint:errcheck // the test is over
	s, err := js.Stream(t.Context(), cfg.Processed)
	if err != nil {
		t.Fatal(err)
	}
	const begun = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for i, parent := range []string{"", "", begun, ""} {
		device := fmt.Sprint("d", i)
		data, err := proto.Marshal(&envelopev1.RawEnvelope{DeviceId: device})
		if err != nil {
			t.Fatal(err)
		}
		m := &nats.Msg{Subject: "raw_envelopes.o.d", Data: data, Header: nats.Header{}}
		if parent != "" {
			m.Header["traceparent"] = []string{parent}
		}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		var result *jetstream.RawStreamMsg
		eventually(t, "there is a result", func() bool {
			result, err = s.GetLastMsgForSubject(t.Context(), "processed_envelopes.o."+device)
			return err == nil
		})
		if got := strings.Join(result.Header["traceparent"], ","); got != parent || result.Header.Get("Nats-Msg-Id") == "" {
			t.Errorf("the trace %q goes on as %q, with %v", parent, got, result.Header)
		}
	}
}

// TestTraceOfUnreadable holds that the letter of a batch's message has the trace of the
// message.
func TestTraceOfUnreadable(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	start(t, nc, runtime.Func("store", runtime.OnBatch(testStreams().RawEnvelopes(), "convert", runtime.Batch{Wait: 10 * time.Millisecond}, whole,
		func(context.Context, []*envelopev1.RawEnvelope) error {
			t.Error("it is called with nothing")
			return nil
		})))
	const trace = "0af7651916cd43dd8448eb211c80319c"
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.o.d", Data: []byte{0xff}, Header: nats.Header{"traceparent": {"00-" + trace + "-b7ad6b7169203331-01"}}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is a letter", func() bool { return len(letters(t, nc)) == 1 })
	if l := letters(t, nc)["UNDECODABLE"]; l.TraceID != trace {
		t.Errorf("the letter's trace is %q", l.TraceID)
	}
}
