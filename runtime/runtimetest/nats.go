package runtimetest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSServer returns a server of this test alone, with JetStream on disk and a port that
// is free; with changes its options.
func NATSServer(t testing.TB, with ...func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(),
	}
	for _, change := range with {
		change(o)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("runtimetest: NATS: %v", err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("runtimetest: NATS did not get ready")
	}
	return srv
}

// NATS returns a connection to a server of this test alone; see NATSServer.
func NATS(t testing.TB) *nats.Conn {
	t.Helper()
	return Connect(t, NATSServer(t))
}

// Connect returns one more connection to srv, closed when the test ends.
func Connect(t testing.TB, srv *server.Server, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(srv.ClientURL(), append([]nats.Option{nats.InProcessServer(srv)}, options...)...)
	if err != nil {
		t.Fatalf("runtimetest: NATS: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Alter changes the configuration of a stream.
func Alter(t testing.TB, js jetstream.JetStream, stream string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}
