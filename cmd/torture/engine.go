package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ponix/runtime/local"
)

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
		name := "ponix-" + strconv.Itoa(i+1)
		n := &local.NATSNode{Name: name, DataDir: filepath.Join(w.dir, name), Host: "127.0.0.1", Sync: 100 * time.Millisecond, Alone: true}
		for _, port := range []*int{&n.Port, &n.RoutePort, &n.Profile} {
			var err error
			if *port, err = freePort(); err != nil {
				return err
			}
		}
		w.nodes = append(w.nodes, n)
		routes = append(routes, n.RoutePort)
	}
	for _, n := range w.nodes {
		n.Routes = routes
		w.disks = append(w.disks, newDisk(n.DataDir))
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return local.AwaitJetStream(ctx, w.natsURL())
}

// engine is PostgreSQL or ClickHouse behind a proxy.
type engine struct {
	part    string
	options local.Options
	cluster *local.Cluster
	proxy   *proxy
	disk    *disk // ClickHouse's
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
	if part == local.ClickHouse {
		e.disk = newDisk(filepath.Join(o.DataDir, "clickhouse"))
	}
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

func (e *engine) kill(ctx context.Context, r *rand.Rand) error {
	if err := syscall.Kill(e.cluster.Pid(e.part), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if err := wait(ctx, between(r, 0, 5*time.Second)); err != nil {
		return err
	}
	return e.start(ctx)
}

func (e *engine) cut(ctx context.Context, r *rand.Rand) error {
	e.proxy.set(way{cut: true})
	defer e.proxy.set(way{})
	return wait(ctx, between(r, time.Second, 8*time.Second))
}

func (e *engine) slow(ctx context.Context, r *rand.Rand) error {
	e.proxy.set(way{delay: between(r, 20*time.Millisecond, 300*time.Millisecond)})
	defer e.proxy.set(way{})
	return wait(ctx, between(r, 2*time.Second, 6*time.Second))
}
