package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/functions"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/heap"
)

// engines are the three that functions need.
type engines struct {
	config.NATS       `group:"NATS"`
	config.Postgres   `group:"PostgreSQL"`
	config.ClickHouse `group:"ClickHouse"`
}

// hosting is how functions are run.
type hosting struct {
	functions.Config `group:"Functions"`
	Concurrency      int           `group:"Functions" default:"256" help:"Calls in flight for each endpoint and trigger of an instance."`
	Timeout          time.Duration `group:"Functions" default:"20s" help:"Time of a call whose caller sets none; shorter than --nats-ack-wait."`
	Grace            time.Duration `group:"Functions" default:"20s" help:"Time to finish what is in flight on shutdown."`
	MetricsAddr      string        `group:"Functions" help:"Address on which to serve /metrics for Prometheus, and /healthz; empty: nowhere."`
}

type serveCommand struct {
	Functions []string `arg:"" optional:"" help:"Functions to run; all if none is named."`
	engines
	hosting
}

func (c *serveCommand) Run(e *env) error {
	// What is wrong without a doubt shows before anything connects.
	if err := cmp.Or(c.engines.validate(), c.hosting.validate()); err != nil {
		return err
	}
	fns, _, err := assemble(functions.Deps{NATS: new(nats.Conn)}, c.Config, c.Functions)
	if err != nil {
		return err
	}
	if err := runtime.Check(fns...); err != nil {
		return err
	}
	stopTraces, err := exportTraces(e)
	if err != nil {
		return err
	}
	defer stopTraces()
	heap.Instance()
	ready, stopMetrics, err := serveMetrics(e, c.MetricsAddr)
	if err != nil {
		return err
	}
	defer stopMetrics()
	nc, err := c.Connect(e.ctx, "ponix serve", e.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	h, names, err := host(e, nc, c.engines, c.hosting, c.Functions)
	if err != nil {
		return err
	}
	defer h.close()
	ready(nc, h.MetricsHandler())
	e.log.Info("serving", "functions", strings.Join(names, " "))
	<-e.ctx.Done()
	e.log.Info("draining")
	return h.Stop()
}

// hosted is a set of running functions with what they hold open.
type hosted struct {
	*runtime.Host
	close func()
}

// host starts the named functions, or all.
func host(e *env, nc *nats.Conn, en engines, ho hosting, only []string) (*hosted, []string, error) {
	deps, closeDeps, err := connect(e.ctx, nc, en)
	if err != nil {
		return nil, nil, err
	}
	fns, names, err := assemble(deps, ho.Config, only)
	if err != nil {
		closeDeps()
		return nil, nil, err
	}
	h, err := runtime.Start(e.ctx, runtime.Config{
		Conn: nc, Streams: ho.Streams, Version: version, Logger: e.log,
		Concurrency: ho.Concurrency, Timeout: ho.Timeout, Grace: ho.Grace,
	}, fns...)
	if err != nil {
		closeDeps()
		return nil, nil, err
	}
	return &hosted{h, closeDeps}, names, nil
}

// connect prepares the connections that functions use; each connects when it is
// first needed.
func connect(ctx context.Context, nc *nats.Conn, en engines) (functions.Deps, func(), error) {
	pool, err := en.Pool(ctx)
	if err != nil {
		return functions.Deps{}, nil, err
	}
	ch, err := en.Open()
	if err != nil {
		pool.Close()
		return functions.Deps{}, nil, err
	}
	return functions.Deps{NATS: nc, Postgres: pool, ClickHouse: ch}, func() {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			pool.Close()
			ch.Close() //nolint:errcheck // nothing is written any more
		}()
		select {
		case <-closed:
		case <-time.After(closeTimeout):
		}
	}, nil
}

// closeTimeout bounds how long a process that ends waits for its connections to be closed. The
// driver of PostgreSQL alone would wait more than a minute for a server that is silent.
const closeTimeout = 2 * time.Second

// assemble makes the functions of these names, or all.
func assemble(d functions.Deps, c functions.Config, only []string) (chosen []runtime.Function, names []string, err error) {
	all, err := functions.All(d, c)
	if err != nil {
		return nil, nil, &usageError{err}
	}
	var known []string
	for _, f := range all {
		known = append(known, f.Name)
		if len(only) == 0 || slices.Contains(only, f.Name) {
			chosen, names = append(chosen, f), append(names, f.Name)
		}
	}
	for _, name := range only {
		if !slices.Contains(known, name) {
			return nil, nil, &usageError{fmt.Errorf("there is no function %q: choose from %s", name, strings.Join(known, ", "))}
		}
	}
	return chosen, names, nil
}

// serveMetrics serves metrics to Prometheus, where an address is given, and to whoever
// looks after processes whether this one has NATS. Until it is ready all are told that it is not.
func serveMetrics(e *env, addr string) (ready func(*nats.Conn, http.Handler), stop func(), err error) {
	if addr == "" {
		return func(*nats.Conn, http.Handler) {}, func() {}, nil
	}
	ln, err := listen(addr, "--metrics-addr", "--metrics-addr")
	if err != nil {
		return nil, nil, err
	}
	var now atomic.Pointer[http.ServeMux]
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux := now.Load()
		if mux == nil {
			http.Error(w, "starting: NATS has not answered yet", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})}
	e.log.Info("serving metrics", "address", ln.Addr().String())
	go func() {
		if err := s.Serve(ln); err != nil && err != http.ErrServerClosed {
			e.log.Error("metrics", "error", err)
		}
	}()
	return func(nc *nats.Conn, metrics http.Handler) { now.Store(monitoring(nc, metrics)) }, func() { s.Close() }, nil //nolint:errcheck // nothing is lost with it
}

func monitoring(nc *nats.Conn, metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !nc.IsConnected() {
			http.Error(w, "NATS is "+strings.ToLower(nc.Status().String()), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
