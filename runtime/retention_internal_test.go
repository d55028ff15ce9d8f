package runtime

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
	for consumers, want := range map[int]uint64{1: 90, 2: 0} {
		if floor, err := ackFloor(t.Context(), s, consumers); err != nil || floor != want {
			t.Errorf("with %d consumers all is settled up to %d, want %d, %v", consumers, floor, want, err)
		}
	}
}
