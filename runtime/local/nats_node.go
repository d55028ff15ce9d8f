package local

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSNode is one server of a NATS cluster, or without routes a server alone, in a
// process of its own.
type NATSNode struct {
	Name      string
	DataDir   string // its store and its log; created
	Host      string // loopback address
	Port      int    // for clients
	RoutePort int    // for the other nodes
	Routes    []int  // RoutePort of every node
	Sync      time.Duration
	Profile   int  // port of the node's profiles; 0: none
	Alone     bool // tell clients of no other node: they come through proxies, and know them all

	process *engineProcess
	failed  chan error
}

// URL is where clients connect.
func (n *NATSNode) URL() string { return "nats://" + net.JoinHostPort(n.Host, strconv.Itoa(n.Port)) }

// Pid is the id of the node's process.
func (n *NATSNode) Pid() int { return n.process.cmd.Process.Pid }

// Failed tells, once, that the node ended on its own.
func (n *NATSNode) Failed() <-chan error { return n.failed }

// Start returns when the node takes connections. Its cluster is ready when most of
// the nodes have found each other. A node that has ended may be started again.
func (n *NATSNode) Start(ctx context.Context) error {
	if err := os.MkdirAll(n.DataDir, 0o750); err != nil {
		return err
	}
	p, err := launchEngine(NATS+" "+n.Name, engineNATS, n.DataDir, filepath.Join(n.DataDir, "nats.log"), syscall.SIGTERM, n)
	if err != nil {
		return err
	}
	n.process, n.failed = p, make(chan error, 1)
	if err := p.ready(ctx); err != nil {
		p.kill()
		return err
	}
	go p.report(n.failed)
	return nil
}

// Stop ends the node, orderly until ctx ends.
func (n *NATSNode) Stop(ctx context.Context) error {
	if n.process == nil {
		return nil
	}
	return n.process.stop(ctx)
}

// runNATS is the node's process. It serves until its context ends.
func runNATS() error {
	var n NATSNode
	ctx, stop, err := fromParent(&n)
	if err != nil {
		return err
	}
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	lock, err := lockEngine(ctx, n.DataDir, logger)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	o := natsOptions(n.Name, n.Host, n.Port, filepath.Join(n.DataDir, "store"), n.Sync)
	if len(n.Routes) > 0 {
		o.NoSublistCache = false
		o.Cluster = server.ClusterOpts{Name: "ponix", Host: n.Host, Port: n.RoutePort, NoAdvertise: n.Alone}
	}
	for _, port := range n.Routes {
		if port != n.RoutePort {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort(n.Host, strconv.Itoa(port))})
		}
	}
	o.ProfPort = n.Profile
	srv, err := server.NewServer(o)
	if err != nil {
		return err
	}
	log := &natsLog{log: logger, fatal: make(chan error, 1)}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		return log.notReady()
	}
	if err := reportReady(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-log.fatal:
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	return err
}
