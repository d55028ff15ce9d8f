package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"ponix/runtime/local/engines"
	"ponix/runtime/local/internal/flock"
)

// Cluster is the engines that run. Those left out have zero fields.
type Cluster struct {
	NATSURL    string         // of every server, comma separated
	NATSServer *server.Server // for nats.InProcessServer; nil where there are several

	PostgresHost string
	PostgresPort int

	ClickHouseAddr string // host:port of the native protocol

	options  Options
	lock     *flock.Lock
	nats     engine
	postgres engine
	click    engine
	failed   chan error
}

// engine is a part that runs.
type engine interface {
	stop(context.Context) error
}

// Start starts the engines, in parallel, and returns when all of them answer. It fetches what is
// missing in the cache. If one fails to start, or ctx ends, none is left running.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if os.Getenv(engineVariable) != "" {
		return nil, errors.New("local: this process was started to be an engine, but its main does not begin with local.EngineMain")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkOwner(o.DataDir, os.Geteuid()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(o.DataDir, "logs"), 0o755); err != nil {
		return nil, fmt.Errorf("%w: choose another directory with --data-dir", err)
	}
	lock, err := lockDataDir(o.DataDir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, lock: lock, failed: make(chan error, 8)}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	o := c.options
	var parts []engines.Kind
	if !o.SkipPostgres && o.PostgresBin == "" {
		parts = append(parts, engines.PostgreSQL)
	}
	if !o.SkipClickHouse {
		parts = append(parts, engines.ClickHouse)
	}
	at, err := engines.Fetch(ctx, o.CacheDir, func(message string) { o.Report(Event{Part: Engines, Message: message}) }, parts...)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if !o.SkipNATS {
		group.Go(func() error { return c.part(NATS, func() error { return c.startNATS(ctx) }) })
	}
	if !o.SkipPostgres {
		group.Go(func() error {
			binaries := cmp.Or(o.PostgresBin, filepath.Join(at[engines.PostgreSQL], "native", "bin"))
			return c.part(Postgres, func() error { return c.startPostgres(ctx, binaries) })
		})
	}
	if !o.SkipClickHouse {
		group.Go(func() error {
			return c.part(ClickHouse, func() error { return c.startClickHouse(ctx, at[engines.ClickHouse]) })
		})
	}
	return group.Wait()
}

// part reports how long a start takes and names the part in its error.
func (c *Cluster) part(name string, start func() error) error {
	began := time.Now()
	if err := start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.options.Report(Event{Part: name, Message: "ready on " + c.address(name), Took: time.Since(began), Done: true})
	return nil
}

func (c *Cluster) address(part string) string {
	switch part {
	case NATS:
		return c.NATSURL
	case Postgres:
		return net.JoinHostPort(c.PostgresHost, strconv.Itoa(c.PostgresPort))
	default:
		return c.ClickHouseAddr
	}
}

// PostgresURL is the connection string of a database, or of Options.Database if none is named.
func (c *Cluster) PostgresURL(database string) string {
	if database == "" {
		database = c.options.Database
	}
	u := url.URL{
		Scheme: "postgres", Host: c.address(Postgres), Path: "/" + database, RawQuery: "sslmode=disable",
		User: url.UserPassword(c.options.User, c.options.Password),
	}
	return u.String()
}

// Pid is the process id of PostgreSQL's or ClickHouse's server, 0 where it was
// left out.
func (c *Cluster) Pid(part string) int {
	switch e := map[string]engine{Postgres: c.postgres, ClickHouse: c.click}[part].(type) {
	case postgresProcess:
		return e.cmd.Process.Pid
	case *engineProcess:
		return e.cmd.Process.Pid
	}
	return 0
}

// Failed tells of engines that end on their own: an error that names the engine and holds the tail
// of its log. It is never closed.
func (c *Cluster) Failed() <-chan error { return c.failed }

// Stop ends ClickHouse, PostgreSQL and NATS in turn, each orderly until ctx ends or its grace
// period is over, and then by force. When it returns, no child is left. Repeating it is harmless.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	for _, part := range []struct {
		name   string
		engine *engine
	}{{ClickHouse, &c.click}, {Postgres, &c.postgres}, {NATS, &c.nats}} {
		if *part.engine == nil {
			continue
		}
		began := time.Now()
		if err := (*part.engine).stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", part.name, err))
		}
		*part.engine = nil
		c.options.Report(Event{Part: part.name, Message: "stopped", Took: time.Since(began)})
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Release())
		c.lock = nil
	}
	return errors.Join(errs...)
}

// serialize lets one call through at a time.
func serialize(report func(Event)) func(Event) {
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		report(e)
	}
}
