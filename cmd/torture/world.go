package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"ponix/runtime/local"
)

// ackWait is how long the messages of a killed instance wait; short, so that a
// short run shows what happens then.
const ackWait = 5 * time.Second

// world is everything that runs: each engine and each instance is a process.
type world struct {
	log      *slog.Logger
	dir      string
	path     string            // the program that is started now
	next     string            // that of another version
	versions map[string]string // of each program
	env      []string
	nodes    []*local.NATSNode
	disks    []*disk // of the nodes
	postgres *engine
	click    *engine
	bridge   *instance
	grpc     string

	mu    sync.Mutex
	serve []*instance
	count int

	nc   *nats.Conn
	js   jetstream.JetStream
	conn *grpc.ClientConn
	db   driver.Conn
}

func newWorld(ctx context.Context, o options, log *slog.Logger) (_ *world, err error) {
	w := &world{log: log}
	for _, path := range []struct {
		to   *string
		from string
	}{{&w.dir, o.Dir}, {&w.path, o.Ponix}, {&w.next, o.Next}} {
		if *path.to, err = filepath.Abs(path.from); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	if err := w.askVersions(ctx); err != nil {
		return nil, err
	}
	if err := w.startNATS(ctx, 3); err != nil {
		return nil, err
	}
	if w.postgres, err = w.startEngine(ctx, local.Postgres, local.Options{SkipNATS: true, SkipClickHouse: true}); err != nil {
		return nil, err
	}
	if w.click, err = w.startEngine(ctx, local.ClickHouse, local.Options{SkipNATS: true, SkipPostgres: true}); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(w.postgres.proxy.addr())
	if err != nil {
		return nil, err
	}
	grpcPort, err := freePort()
	if err != nil {
		return nil, err
	}
	w.grpc = net.JoinHostPort("127.0.0.1", strconv.Itoa(grpcPort))
	w.env = []string{
		"PONIX_NATS_URL=" + w.natsURL(), "PONIX_NATS_REPLICAS=3", "PONIX_NATS_ACK_WAIT=" + ackWait.String(), "PONIX_TIMEOUT=4s",
		"PONIX_POSTGRES_HOST=" + host, "PONIX_POSTGRES_PORT=" + port, "PONIX_POSTGRES_SSLMODE=disable",
		"PONIX_CLICKHOUSE_NATIVE_URL=" + w.click.proxy.addr(),
		"PONIX_GRPC_HOST=127.0.0.1", "PONIX_GRPC_PORT=" + strconv.Itoa(grpcPort),
		"PONIX_NATS_ATOMIC_BATCHES=" + strconv.FormatBool(o.Atomic),
	}
	migrate := exec.CommandContext(ctx, w.path, "migrate", "up")
	migrate.Env = append(os.Environ(), w.env...)
	if out, err := migrate.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("migrate: %w: %s", err, out)
	}
	w.bridge = w.instance("bridge", "bridge")
	if err := errors.Join(w.bridge.tellMetrics(), w.bridge.start()); err != nil {
		return nil, err
	}
	if err := w.scale(2); err != nil {
		return nil, err
	}
	return w, w.connect()
}

// askVersions runs both programs, which have to be of two versions.
func (w *world) askVersions(ctx context.Context) error {
	w.versions = map[string]string{}
	for _, path := range []string{w.path, w.next} {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			return fmt.Errorf("%s --version: %w", path, err)
		}
		w.versions[path] = strings.TrimSpace(string(out))
	}
	if w.versions[w.path] == w.versions[w.next] {
		return fmt.Errorf("%s and %s are both of version %s", w.path, w.next, w.versions[w.path])
	}
	return nil
}

// version is what runs now.
func (w *world) version() string { return w.versions[w.path] }

// connect makes the harness's own connections, which no fault touches but by the
// engine itself.
func (w *world) connect() (err error) {
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // what breaks is meant to
	if w.nc, err = nats.Connect(w.natsURL(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1), quiet); err != nil {
		return err
	}
	if w.js, err = jetstream.New(w.nc); err != nil {
		return err
	}
	if w.conn, err = grpc.NewClient(w.grpc, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return err
	}
	w.db, err = clickhouse.Open(&clickhouse.Options{
		Addr: []string{w.click.cluster.ClickHouseAddr}, DialTimeout: 5 * time.Second,
		Auth: clickhouse.Auth{Database: "ponix", Username: "ponix", Password: "ponix"},
	})
	return err
}

func (w *world) instance(name string, args ...string) *instance {
	return &instance{name: name, path: w.path, args: args, env: w.env, dir: w.dir}
}

// scale starts or ends instances of `ponix serve` until there are n.
func (w *world) scale(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.serve) < n {
		w.count++
		i := w.instance("serve-"+strconv.Itoa(w.count), "serve")
		if err := errors.Join(i.ownWay(w.nodes), i.tellMetrics(), i.start()); err != nil {
			return err
		}
		w.serve = append(w.serve, i)
	}
	for len(w.serve) > n {
		i := w.serve[0]
		w.serve = w.serve[1:]
		if err := i.end(syscall.SIGTERM); err != nil {
			return err
		}
		i.close()
	}
	return nil
}

// instances are the processes of `ponix serve` now.
func (w *world) instances() []*instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.serve)
}

// stop ends everything, by id.
func (w *world) stop() {
	if w.conn != nil {
		w.conn.Close() //nolint:errcheck // nothing is on it
	}
	if w.nc != nil {
		w.nc.Close()
	}
	if w.db != nil {
		w.db.Close() //nolint:errcheck // only read from
	}
	all := w.instances()
	if w.bridge != nil {
		all = append(all, w.bridge)
	}
	var errs []error
	for _, i := range all {
		if i.cmd != nil {
			errs = append(errs, i.signal(syscall.SIGCONT), i.end(syscall.SIGTERM))
		}
		i.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, e := range []*engine{w.click, w.postgres} {
		if e != nil && e.cluster != nil {
			errs = append(errs, e.cluster.Stop(ctx))
		}
		if e != nil && e.proxy != nil {
			e.proxy.close()
		}
		if e != nil && e.disk != nil {
			errs = append(errs, e.disk.close())
		}
	}
	for _, n := range w.nodes {
		errs = append(errs, n.Stop(ctx))
	}
	for _, d := range w.disks {
		errs = append(errs, d.close())
	}
	if err := errors.Join(errs...); err != nil {
		w.log.Warn("stop", "error", err)
	}
}

var ports = rand.Uint32() // that were looked at, from anywhere on

// freePort returns one from below those that the system gives to connections: a proxy
// that dials a server which was killed would get its port now and then, connect to
// itself, and be in the way of the server's return. No two calls return the same.
func freePort() (int, error) {
	for {
		port := 20_000 + int(atomic.AddUint32(&ports, 1)%12_000)
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return port, ln.Close()
	}
}

// wait returns after d, or the error of ctx when it ends earlier.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
