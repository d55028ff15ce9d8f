package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	path     string
	env      []string
	nodes    []*local.NATSNode
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

// engine is PostgreSQL or ClickHouse behind a proxy.
type engine struct {
	part    string
	options local.Options
	cluster *local.Cluster
	proxy   *proxy
}

func newWorld(ctx context.Context, o options, log *slog.Logger) (_ *world, err error) {
	w := &world{log: log, dir: o.Dir}
	if w.path, err = filepath.Abs(o.Ponix); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
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
	}
	migrate := exec.CommandContext(ctx, w.path, "migrate", "up")
	migrate.Env = append(os.Environ(), w.env...)
	if out, err := migrate.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("migrate: %w: %s", err, out)
	}
	w.bridge = w.instance("bridge", "bridge")
	if err := w.bridge.start(); err != nil {
		return nil, err
	}
	if err := w.scale(2); err != nil {
		return nil, err
	}
	return w, w.connect()
}

// connect makes the harness's own connections, which no fault touches but by the
// engine itself.
func (w *world) connect() (err error) {
	if w.nc, err = nats.Connect(w.natsURL(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1)); err != nil {
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
		if err := i.start(); err != nil {
			return err
		}
		w.serve = append(w.serve, i)
	}
	for len(w.serve) > n {
		i := w.serve[0]
		w.serve = w.serve[1:]
		if err := i.end(sigterm); err != nil {
			return err
		}
	}
	return nil
}

// instances are the processes of `ponix serve` now.
func (w *world) instances() []*instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*instance(nil), w.serve...)
}

func (w *world) natsURL() string {
	var urls []string
	for _, n := range w.nodes {
		urls = append(urls, n.URL())
	}
	return strings.Join(urls, ",")
}

func (w *world) startNATS(ctx context.Context, count int) error {
	var routes []int
	for i := range count {
		port, err := freePort()
		if err != nil {
			return err
		}
		route, err := freePort()
		if err != nil {
			return err
		}
		name := "ponix-" + strconv.Itoa(i+1)
		w.nodes = append(w.nodes, &local.NATSNode{Name: name, DataDir: filepath.Join(w.dir, name), Host: "127.0.0.1", Port: port, RoutePort: route, Sync: 100 * time.Millisecond})
		routes = append(routes, route)
	}
	for _, n := range w.nodes {
		n.Routes = routes
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return local.AwaitJetStream(ctx, w.natsURL())
}

func (w *world) startEngine(ctx context.Context, part string, o local.Options) (*engine, error) {
	o.DataDir, o.Logger = filepath.Join(w.dir, part), slog.New(slog.DiscardHandler)
	var err error
	if o.PostgresPort, err = freePort(); err != nil {
		return nil, err
	}
	if o.ClickHousePort, err = freePort(); err != nil {
		return nil, err
	}
	e := &engine{part: part, options: o}
	if e.cluster, err = local.Start(ctx, o); err != nil {
		return nil, err
	}
	to := e.cluster.ClickHouseAddr
	if part == local.Postgres {
		to = net.JoinHostPort(e.cluster.PostgresHost, strconv.Itoa(e.cluster.PostgresPort))
	}
	e.proxy, err = newProxy(to)
	return e, err
}

// start starts an engine that was killed, on its old port. What the kernel has
// not cleaned up yet may be in the way at first.
func (e *engine) start(ctx context.Context) error {
	e.cluster.Stop(ctx) //nolint:errcheck // it was killed
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if e.cluster, err = local.Start(ctx, e.options); err == nil {
			return nil
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			break
		}
	}
	return fmt.Errorf("restart %s: %w", e.part, err)
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
			errs = append(errs, i.signal(sigcont), i.end(sigterm))
		}
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
	}
	for _, n := range w.nodes {
		errs = append(errs, n.Stop(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		w.log.Warn("stop", "error", err)
	}
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return ln.Addr().(*net.TCPAddr).Port, ln.Close()
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
