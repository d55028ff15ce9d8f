package cdc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/runtimetest"
)

// on replaces the environment's NATS by other servers.
func (e *env) on(t testing.TB, srv *natsserver.Server) {
	t.Helper()
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	e.srv, e.nc = srv, nc
	if e.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
}

func startNATS(t testing.TB, o natsserver.Options) *natsserver.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs, o.JetStream = "127.0.0.1", true, true, true
	srv, err := natsserver.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS did not get ready")
	}
	return srv
}

// NATS goes away in the middle of the changes, and comes back.
func TestNATSRestarts(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	o := natsserver.Options{Port: runtimetest.Port(t), StoreDir: t.TempDir()}
	first := startNATS(t, o)
	e.on(t, first)
	e.process(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', '0')")
	const n = 3000
	done := make(chan error, 1)
	go func() { done <- e.count(t.Context(), n) }()
	e.reached(t, n/3)
	first.Shutdown()
	first.WaitForShutdown()
	startNATS(t, o)
	runtimetest.Eventually(t, 10*time.Second, func() error { return e.nc.FlushTimeout(time.Second) })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	e.wantVersions(t, n)
}

// The streams have three replicas, and their leaders change in the middle of the
// changes.
func TestReplicasChangeLeaders(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.on(t, startCluster(t))
	e.streams.Replicas = 3
	e.config.RetryDelay = 200
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', '0')")
	const n, changes = 2000, 4
	done := make(chan error, 1)
	go func() { done <- e.count(t.Context(), n) }()
	for i := range changes {
		e.reached(t, i*n/changes+1)
		runtimetest.Eventually(t, 10*time.Second, func() error { // an election may be going on
			_, err := e.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.organizations", nil, 5*time.Second)
			return err
		})
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	e.wantVersions(t, n)
}

// TestStateGetsReplicas goes from one replica to three: the slot's state has them, too, or
// nobody could read the slot while the node that has it is away.
func TestStateGetsReplicas(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.on(t, startCluster(t))
	stop := e.instance(t)
	e.streaming(t)
	stop()
	e.streams.Replicas = 3
	e.instance(t)
	e.streaming(t)
	s, err := e.js.Stream(t.Context(), "KV_"+e.streams.CaptureState().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().Config.Replicas; n != 3 {
		t.Errorf("it has %d replicas", n)
	}
}

// startCluster starts three servers and returns one of them.
func startCluster(t testing.TB) *natsserver.Server {
	t.Helper()
	var all []*natsserver.Server
	var routes []*url.URL
	for i := range 3 {
		port := runtimetest.Port(t)
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
		all = append(all, startNATS(t, natsserver.Options{
			ServerName: fmt.Sprint("n", i), Port: natsserver.RANDOM_PORT, StoreDir: t.TempDir(), Routes: routes,
			Cluster: natsserver.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
		}))
	}
	runtimetest.Eventually(t, 30*time.Second, func() error {
		for _, s := range all {
			if s.JetStreamIsCurrent() && len(s.JetStreamClusterPeers()) == len(all) {
				return nil
			}
		}
		return errors.New("the cluster has no leader")
	})
	return all[0]
}

// TestStateIsWrittenByOthers has others write the state of a slot that is read, all the time. Its
// owner says so each time, also where three servers have the state and are still at the others'
// writing: then they refuse its own with another code.
func TestStateIsWrittenByOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.on(t, startCluster(t))
	e.streams.Replicas = 3
	e.config.RetryDelay = 100
	var log runtimetest.Text
	e.log = &log
	e.instance(t)
	e.streaming(t)
	kv, err := e.js.KeyValue(t.Context(), e.streams.CaptureState().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	state, err := kv.Get(t.Context(), e.config.Slot)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 4 {
		go func() {
			for ctx.Err() == nil {
				kv.Put(ctx, e.config.Slot, state.Value()) //nolint:errcheck // another one follows
			}
		}()
	}
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if n := strings.Count(log.String(), "written meanwhile"); n < 3 {
			return fmt.Errorf("%d times: %s", n, log.String())
		}
		return nil
	})
	if said := log.String(); strings.Contains(said, "wrong last sequence") {
		t.Errorf("it says what the server does: %s", said)
	}
}
