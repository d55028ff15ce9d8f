package bench

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/wire"
)

// clients is how many call at a time where throughput is measured.
const clients = 64

// call is one request and its reply, decoded.
type call func(context.Context) error

// RPC compares calls of one method, with a reply of 170 bytes that costs nothing to
// make: through the bridge and over NATS, and each with its limit. Each case takes
// as long as d, a round.
//
// The NATS server is a process of its own, as in production, where a request passes
// between processes; within this one it would take a third of the time, and what
// surrounds it would look larger. Who asks, who answers and the bridge are this
// process, in every case alike.
func RPC(ctx context.Context, w *World, d time.Duration) (Suite, error) {
	c, err := newCalls(ctx, w)
	if err != nil {
		return Suite{}, err
	}
	one := func(f call) func(context.Context, *Round) error {
		return func(ctx context.Context, r *Round) error { return closedLoop(ctx, r, 1, d, f) }
	}
	many := func(f call) func(context.Context, *Round) error {
		return func(ctx context.Context, r *Round) error { return closedLoop(ctx, r, clients, d, f) }
	}
	return Suite{
		Name: "rpc", About: "calls of one method, closed loop, by one client and by 64",
		Metrics: []Metric{Rate, P50, P99, CPU},
		Cases: []Case{
			{"NATS request, 1", one(c.raw)},
			{"ponix endpoint, 1", one(c.endpoint)},
			{"ponix bridge, 1", one(c.bridge)},
			{"NATS request, 64", many(c.raw)},
			{"micro endpoint, 64", many(c.micro)},
			{"ponix endpoint, 64", many(c.endpoint)},
			{"gRPC direct, 64", many(c.direct)},
			{"minimal bridge, 64", many(c.minimal)},
			{"ponix bridge, 64", many(c.bridge)},
		},
		Goals: []Goal{
			{Of: "ponix bridge, 1", Base: "NATS request, 1", Metric: P50, Bound: 2, AtMost: true},
			{Of: "ponix bridge, 64", Base: "gRPC direct, 64", Metric: Rate, Bound: 0.6},
			{Of: "ponix bridge, 64", Base: "minimal bridge, 64", Metric: Rate, Bound: 0.9},
			{Of: "ponix endpoint, 64", Base: "micro endpoint, 64", Metric: Rate, Bound: 0.9},
		},
	}, nil
}

// calls are the ways to call the method. The client, who answers and the bridge
// each have a connection to NATS.
type calls struct{ raw, micro, endpoint, direct, minimal, bridge call }

func newCalls(ctx context.Context, w *World) (*calls, error) {
	if err := w.directory(ctx); err != nil {
		return nil, err
	}
	if err := w.bareAnswers(); err != nil {
		return nil, err
	}
	nc, err := w.dial()
	if err != nil {
		return nil, err
	}
	toBridge, err := w.startBridge()
	if err != nil {
		return nil, err
	}
	minimal, err := w.minimalBridge()
	if err != nil {
		return nil, err
	}
	direct, err := w.directServer()
	if err != nil {
		return nil, err
	}
	return &calls{
		raw: natsCall(nc, rawSubject), micro: natsCall(nc, microSubject),
		endpoint: natsCall(nc, wire.Subject(organizationv1.OrganizationService_GetOrganization_FullMethodName)),
		direct:   grpcCall(direct), minimal: grpcCall(minimal), bridge: grpcCall(toBridge),
	}, nil
}

// startBridge returns a client of a bridge on this world's NATS.
func (w *World) startBridge() (*grpc.ClientConn, error) {
	nc, err := w.dial()
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b, err := bridge.Start(ln, bridge.Config{Conn: nc, Logger: w.log})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() error { b.Stop(); return nil })
	return dialGRPC(b.Addr().String())
}

func dialGRPC(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func grpcCall(conn *grpc.ClientConn) call {
	client := organizationv1.NewOrganizationServiceClient(conn)
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := client.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: organization})
		return err
	}
}
