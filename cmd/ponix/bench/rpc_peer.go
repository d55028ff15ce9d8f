package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"

	"ponix/bridge"
	"ponix/functions"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/heap"
	"ponix/runtime/local"
)

// The roles of the other processes of the rpc suite.
const (
	answers       = "answers" // over NATS, bare and ours
	alone         = "grpc"    // the same answers over gRPC alone
	ourBridge     = "bridge"
	minimalBridge = "minimal-bridge"
	oneProcess    = "up" // a NATS server, who answers and our bridge, like `ponix up`
)

// peers start a role; each answers at the address that it returns, all but the first by gRPC.
var peers = map[string]func(*World, context.Context) (addr string, err error){
	answers: (*World).answers, alone: (*World).grpcAlone, ourBridge: (*World).bridge, minimalBridge: (*World).minimalBridge,
	oneProcess: (*World).up,
}

// listening begins the line in which a peer says its address.
const listening = "listening on "

// Peer plays a role of the rpc suite on a NATS server until ctx ends, and writes to
// out where it answers.
func Peer(ctx context.Context, role, natsURL string, log *slog.Logger, out io.Writer) error {
	start, known := peers[role]
	if !known {
		return fmt.Errorf("%q is no role, but one of %q", role, slices.Sorted(maps.Keys(peers)))
	}
	w := &World{Cluster: &local.Cluster{NATSURL: natsURL}, log: log, config: config.Default[functions.Config]()}
	switch role {
	case answers:
		heap.Instance()
	case oneProcess: // as Go has it
	default:
		heap.Bridge() // the limits, too: a collector that runs more often is no part of what they leave out
	}
	addr, err := start(w, ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, listening+addr)
	<-ctx.Done()
	return w.Close()
}

// peer starts a process in that role, and returns where it answers.
func (b RPC) peer(ctx context.Context, w *World, role string) (addr string, c *child, err error) {
	args := []string{"bench", "peer", role, w.NATSURL}
	if b.Profile != "" {
		args = append(args, "--profile", b.Profile+"."+role)
	}
	if c, err = spawn(ctx, nil, args...); err != nil {
		return "", nil, err
	}
	within, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if addr, err = c.told(within, listening); err != nil {
		return "", nil, errors.Join(err, c.Close())
	}
	return addr, c, nil
}

// answers serves the method over NATS, in a process like `ponix serve`.
func (w *World) answers(ctx context.Context) (addr string, err error) {
	if err := w.bareAnswers(); err != nil {
		return "", err
	}
	nc, err := w.connect(ctx)
	if err != nil {
		return "", err
	}
	return w.NATSURL, w.endpoint(ctx, nc)
}

// endpoint is ours.
func (w *World) endpoint(ctx context.Context, nc *nats.Conn) error {
	_, err := w.start(ctx, nc, 0, runtime.Func("organization",
		runtime.Endpoint(organizationv1.OrganizationService_GetOrganization_FullMethodName, getOrganization)))
	return err
}

// grpcAlone serves the method over gRPC, in a process of its own.
func (*World) grpcAlone(context.Context) (addr string, err error) {
	s := grpc.NewServer()
	organizationv1.RegisterOrganizationServiceServer(s, direct{})
	return serveGRPC(s)
}

// bridge is ours, as `ponix bridge` starts it.
func (w *World) bridge(ctx context.Context) (addr string, err error) {
	nc, err := w.connect(ctx)
	if err != nil {
		return "", err
	}
	return w.startBridge(nc)
}

func (w *World) startBridge(nc *nats.Conn) (addr string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	b, err := bridge.Start(ln, bridge.Config{Conn: nc, Logger: w.log})
	if err != nil {
		return "", err
	}
	return b.Addr().String(), nil
}

// up is what `ponix up` is to a call: all that it passes is in one process, with one
// connection within it.
func (w *World) up(ctx context.Context) (addr string, err error) {
	u, err := Open(ctx, Engines{Logger: w.log})
	if err != nil {
		return "", err
	}
	w.closers = append(w.closers, u.Close)
	nc, err := u.keep(config.NATS{URL: u.NATSURL}.Connect(ctx, "ponix up", w.log, nats.InProcessServer(u.NATSServer)))
	if err != nil {
		return "", err
	}
	if err := u.endpoint(ctx, nc); err != nil {
		return "", err
	}
	return u.startBridge(nc)
}

func serveGRPC(s *grpc.Server) (addr string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go s.Serve(ln) //nolint:errcheck // calls fail
	return ln.Addr().String(), nil
}
