// Package runtimetest gives tests real NATS, PostgreSQL and ClickHouse, isolated from test to test.
//
// A test binary that uses it has
//
//	func TestMain(m *testing.M) { runtimetest.Main(m) }
//
// NATS is a server of the test's own. PostgreSQL and ClickHouse are started once per test binary,
// when a test first asks, and give each test an empty database. Nothing is skipped: what is
// missing fails the test, with the reason. When the binary ends, however it does, so do they.
package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ponix/runtime/local"
)

const (
	startTimeout = 5 * time.Minute // which may include a fetch
	stopTimeout  = 30 * time.Second
	callTimeout  = 30 * time.Second
)

// shared are the engines of this test binary: state of the package, because tests have no other
// place in common. Main sets it up.
var shared *engines

// engines are clusters of one engine each, so that a test starts only what it uses.
type engines struct {
	dir       string
	postgres  lazy
	click     lazy
	databases atomic.Int64
}

// lazy is a cluster that starts when it is first asked for.
type lazy struct {
	once    sync.Once
	cluster *local.Cluster
	err     error
}

// Main runs the tests, stops the engines that they used and exits.
func Main(m *testing.M) {
	local.EngineMain()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "ponix-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "runtimetest:", err)
		return 1
	}
	shared = &engines{dir: dir}
	defer func() {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "runtimetest:", err)
			code = 1
		}
	}()
	return m.Run()
}

func (e *engines) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, l := range []*lazy{&e.postgres, &e.click} {
		if l.cluster != nil {
			errs = append(errs, l.cluster.Stop(ctx))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(e.dir))...)
}

// get starts the cluster if it is not there yet.
func (e *engines) get(t testing.TB, l *lazy, o local.Options) *local.Cluster {
	t.Helper()
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		o.DataDir, o.Ephemeral, o.SkipNATS = filepath.Join(e.dir, o.Database), true, true
		o.Logger = slog.New(slog.DiscardHandler)
		l.cluster, l.err = local.Start(ctx, o)
	})
	if l.err != nil {
		t.Fatalf("runtimetest: %v", l.err)
	}
	select {
	case err := <-l.cluster.Failed():
		t.Fatalf("runtimetest: %v", err)
	default:
	}
	return l.cluster
}

// name is that of a new database.
func (e *engines) name() string { return fmt.Sprintf("test_%d", e.databases.Add(1)) }

// started returns the engines of this binary, which only Main makes.
func started(t testing.TB) *engines {
	t.Helper()
	if shared == nil {
		t.Fatal("runtimetest: this package needs func TestMain(m *testing.M) { runtimetest.Main(m) }")
	}
	return shared
}

// Eventually polls until cond returns nil, and fails the test with its last error if that takes
// longer than within.
func Eventually(t testing.TB, within time.Duration, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
