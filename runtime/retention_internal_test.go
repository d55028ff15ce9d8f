package runtime

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/runtimetest"
)

// TestMissingConsumer plays the answers of a cluster in which the leader of one of two
// consumers is silent, and which therefore lists only the other: nothing is settled.
func TestMissingConsumer(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Shutdown)
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("$JS.API.>", func(m *nats.Msg) {
		answer := `{"config":{"name":"s"},"created":"2026-01-01T00:00:00Z","state":{"messages":100,"first_seq":1,"last_seq":100,"consumer_count":2}}`
		if strings.HasPrefix(m.Subject, "$JS.API.CONSUMER.LIST.") {
			answer = `{"total":2,"limit":256,"missing":["a"],"consumers":[{"stream_name":"s","name":"b","config":{"durable_name":"b"},"ack_floor":{"consumer_seq":90,"stream_seq":90}}]}`
		}
		m.Respond([]byte(answer)) //nolint:errcheck // then nobody has an answer
	}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{Config: Config{Conn: nc}, js: js}
	for consumers, want := range map[int]uint64{1: 90, 2: 0} {
		if floor, err := h.ackFloor(t.Context(), s, jetstream.StreamState{LastSeq: 100, Consumers: consumers}); err != nil || floor != want {
			t.Errorf("with %d consumers all is settled up to %d, want %d, %v", consumers, floor, want, err)
		}
	}
}

// TestLastBefore looks for the last old message of a stream from which some newer ones
// were deleted.
func TestLastBefore(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	const all = 9
	var stored [all + 1]time.Time
	for n := uint64(1); n <= all; n++ {
		if _, err := js.Publish(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		stored[n] = m.Time
	}
	for _, n := range []uint64{2, 5, 6, 8} {
		if err := s.DeleteMsg(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	h := &Host{Config: Config{Conn: nc}, js: js}
	for before, want := range map[time.Time]uint64{
		stored[1]: 0, stored[3]: 1, stored[4]: 3, stored[7]: 4, stored[7].Add(time.Nanosecond): 7, stored[9].Add(time.Hour): 7,
	} {
		if got, err := h.lastBefore(t.Context(), "s", 1, 8, before); err != nil || got != want {
			t.Errorf("of 1 to 8, %v: %d is the last before, want %d, %v", before, got, want, err)
		}
	}
}

// TestFloorOfAFilter asks how far consumers are that want only some of a stream.
func TestFloorOfAFilter(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string]struct {
		filters   []string
		before    uint64 // it has acknowledged anything
		afterward uint64
	}{
		"nothing": {[]string{"s.none"}, 9, 9}, "one": {[]string{"s.b"}, 3, 9}, "two": {[]string{"s.b", "s.c"}, 3, 6}, "all": {[]string{"s.*"}, 0, 1},
	}
	for name, c := range wants {
		if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: name, FilterSubjects: c.filters, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
	}
	for _, token := range strings.Split("aaabaacaa", "") {
		if _, err := js.Publish(t.Context(), "s."+token, nil); err != nil {
			t.Fatal(err)
		}
	}
	h := &Host{Config: Config{Conn: nc}, js: js}
	for _, acknowledged := range []bool{false, true} {
		for name, w := range wants {
			c, err := s.Consumer(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			want := w.before
			if acknowledged {
				want = w.afterward
			}
			if got, err := h.floorOf(t.Context(), c.CachedInfo(), 9); err != nil || got != want {
				t.Errorf("%s, first acknowledged %v: up to %d, want %d, %v", name, acknowledged, got, want, err)
			}
			if acknowledged || name == "nothing" {
				continue
			}
			m, err := c.Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := h.nextMessage(t.Context(), "another", 1, ">"); err == nil {
		t.Error("a stream that is not there is one without messages")
	}
}

// TestNothingIsSettledWithoutConsumers has a stream that is more than half full lose its last
// consumer, as where somebody deletes it: what waits for it is not purged.
func TestNothingIsSettledWithoutConsumers(t *testing.T) {
	t.Parallel()
	h, js := hostOf(t)
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", MaxBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	const all = 3
	for range all {
		if _, err := js.Publish(t.Context(), "s", make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	tr := &trigger{binding: &binding{host: h}, stream: streams.Stream{StreamConfig: jetstream.StreamConfig{Name: "s"}}}
	if err := h.purge(t.Context(), tr, s); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != all {
		t.Errorf("%d of %d messages are left, %v", info.State.Msgs, all, err)
	}
}

// TestStatusHeaderStaysUntilItsLetterIs has a stream of dead letters that takes none: the
// message that would be one is not deleted.
func TestStatusHeaderStaysUntilItsLetterIs(t *testing.T) {
	t.Parallel()
	h, js := hostOf(t)
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	letters := jetstream.StreamConfig{Name: "dead_letters", Subjects: []string{"dead_letters.>"}, MaxMsgSize: 1}
	if _, err := js.CreateStream(t.Context(), letters); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "s", Header: nats.Header{"Status": {"100"}}}); err != nil {
		t.Fatal(err)
	}
	err = h.buryStatus(t.Context(), s, "f", 1)
	if m, lost := h.nextMessage(t.Context(), "s", 1, ">"); err == nil || lost != nil || m == nil {
		t.Errorf("%v: the message is %v, %v", err, m, lost)
	}
	letters.MaxMsgSize = -1
	if _, err := js.UpdateStream(t.Context(), letters); err != nil {
		t.Fatal(err)
	}
	err = h.buryStatus(t.Context(), s, "f", 1)
	if m, gone := h.nextMessage(t.Context(), "s", 1, ">"); err != nil || gone != nil || m != nil {
		t.Errorf("%v: the message is %v, %v", err, m, gone)
	}
}

// hostOf has a server of its own, and no functions.
func hostOf(t *testing.T) (*Host, jetstream.JetStream) {
	t.Helper()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &Host{Config: Config{Conn: nc, Logger: slog.New(slog.DiscardHandler)}, js: js}, js
}
