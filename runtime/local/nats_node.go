package local

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsStop lets JetStream write what it has.
var natsStop = escalation{{syscall.SIGTERM, 15 * time.Second}}

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

	process *process
	alive   io.Closer
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
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.DataDir, 0o750); err != nil {
		return err
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Command(self)
	cmd.Args[0] = "ponix: NATS " + n.Name // as ps shows it
	cmd.Env = append(environment(), engineVariable+"="+engineNATS)
	cmd.Dir = n.DataDir
	cmd.ExtraFiles = []*os.File{report}
	cmd.SysProcAttr = tied(syscall.SIGTERM)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	p, err := launch(NATS+" "+n.Name, filepath.Join(n.DataDir, "nats.log"), cmd)
	_ = report.Close()
	if err != nil {
		return err
	}
	n.process, n.alive, n.failed = p, stdin, make(chan error, 1)
	if err := json.NewEncoder(stdin).Encode(n); err != nil {
		n.process.kill()
		return fmt.Errorf("%w; %w", err, n.process.failure())
	}
	said := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(ready).ReadString('\n')
		said <- err
	}()
	select {
	case err = <-said:
		if err != nil { // the pipe's end without a word
			<-n.process.exited
			return n.process.failure()
		}
	case <-ctx.Done():
		n.process.kill()
		return ctx.Err()
	}
	go n.process.report(n.failed)
	return nil
}

// Stop ends the node, orderly until ctx ends.
func (n *NATSNode) Stop(ctx context.Context) error {
	if n.process == nil {
		return nil
	}
	defer func() { _ = n.alive.Close() }()
	return n.process.end(ctx, natsStop)
}

// runNATS is the node's process. It serves until SIGTERM or until standard input,
// which the parent holds, ends.
func runNATS() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var n NATSNode
	if err := json.NewDecoder(os.Stdin).Decode(&n); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	lock, err := lockEngine(ctx, n.DataDir, logger)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	o := natsOptions(n.Name, n.Host, n.Port, filepath.Join(n.DataDir, "store"), n.Sync)
	if len(n.Routes) > 0 {
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
		select {
		case err := <-log.fatal:
			return err
		default:
			return fmt.Errorf("the server did not get ready")
		}
	}
	report := os.NewFile(nodeReportFD, "report")
	if _, err := fmt.Fprintln(report, srv.ClientURL()); err != nil {
		return err
	}
	_ = report.Close()
	select {
	case <-ctx.Done():
	case err = <-log.fatal:
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	return err
}
