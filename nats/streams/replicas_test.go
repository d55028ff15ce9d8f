package streams_test

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestReplicasOnlyGrow has an instance that was started without PONIX_NATS_REPLICAS
// beside others that have three.
func TestReplicasOnlyGrow(t *testing.T) {
	t.Parallel()
	var ports []int
	var routes []*url.URL
	for range 3 {
		port := runtimetest.Port(t)
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	}
	var at string
	for i, p := range ports {
		srv, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: p}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		t.Cleanup(srv.Shutdown)
		if !srv.ReadyForConnections(10 * time.Second) {
			t.Fatal("a node does not get ready")
		}
		at = srv.ClientURL()
	}
	nc, err := nats.Connect(at)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	for _, c.Replicas = range []int{1, 3, 1} { // more of them, and then one that does not know
		if err := streams.Ensure(t.Context(), js, c.RawEnvelopes()); err != nil {
			t.Fatal(err)
		}
		if err := streams.EnsureBuckets(t.Context(), js, c.Leases()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{c.Raw, "KV_" + c.Leases().Bucket} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().Config.Replicas; n != 3 {
			t.Errorf("%s has %d replicas, want 3", name, n)
		}
	}
	if durable, err := js.Consumer(t.Context(), c.Raw, streams.Convert); err != nil || durable.CachedInfo().Config.Replicas != 3 {
		t.Errorf("the consumer is %v, %v", durable, err)
	}
}
