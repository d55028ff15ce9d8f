package bench

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/wire"
)

// clients is how many call at a time where throughput is measured.
const clients = 64

// call is one request and its reply, decoded.
type call func(context.Context) error

// RPC measures calls of one method.
type RPC struct {
	Duration time.Duration // of each case in a round
	Profile  string        // file that the profiles of the other processes are named after; empty: none
}

// Suite compares calls, with a reply of 170 bytes that costs nothing to make: through
// the bridge and over NATS, and each with its limit.
//
// Who asks is this process. The NATS server, who answers and the bridge each are one
// of their own, as in production, where a call passes between processes; where two
// of them share one, it wakes up once instead of twice, and what is left out of one
// case would be left in another. The limits live where what they bound lives: bare
// answers beside ours, the minimal bridge and gRPC without NATS in processes of their
// own. `ponix up`, which has all of it in one process, is a case by itself.
func (b RPC) Suite(ctx context.Context, w *World) (Suite, error) {
	c, err := b.calls(ctx, w)
	if err != nil {
		return Suite{}, err
	}
	one := func(f call) func(context.Context, *Round) error {
		return func(ctx context.Context, r *Round) error { return closedLoop(ctx, r, 1, b.Duration, f) }
	}
	many := func(f call) func(context.Context, *Round) error {
		return func(ctx context.Context, r *Round) error { return closedLoop(ctx, r, clients, b.Duration, f) }
	}
	return Suite{
		Name: "rpc", About: "calls of one method, closed loop, by one client and by 64",
		Metrics: []Metric{Rate, P50, P99, CPU},
		Cases: []Case{
			{"NATS request, 1", one(c.raw)},
			{"ponix endpoint, 1", one(c.endpoint)},
			{"ponix bridge, 1", one(c.bridge)},
			{"gRPC direct, 1", one(c.direct)},
			{"minimal bridge, 1", one(c.minimal)},
			{"ponix up, 1", func(ctx context.Context, r *Round) error { return b.up(ctx, w, r) }},
			{"NATS request, 64", many(c.raw)},
			{"micro endpoint, 64", many(c.micro)},
			{"ponix endpoint, 64", many(c.endpoint)},
			{"gRPC direct, 64", many(c.direct)},
			{"minimal bridge, 64", many(c.minimal)},
			{"ponix bridge, 64", many(c.bridge)},
		},
		Goals: []Goal{
			{Of: "ponix bridge, 1", Base: "NATS request, 1", Metric: P50, Bound: 2, AtMost: true},
			{Of: "ponix up, 1", Base: "NATS request, 1", Metric: P50, Bound: 2, AtMost: true},
			{Of: "ponix bridge, 64", Base: "gRPC direct, 64", Metric: Rate, Bound: 0.6},
			{Of: "ponix bridge, 64", Base: "minimal bridge, 64", Metric: Rate, Bound: 0.9},
			{Of: "ponix endpoint, 64", Base: "micro endpoint, 64", Metric: Rate, Bound: 0.9},
		},
	}, nil
}

// calls are the ways to call the method. The client, who answers and the bridge
// each have a connection to NATS.
type calls struct{ raw, micro, endpoint, direct, minimal, bridge call }

func (b RPC) calls(ctx context.Context, w *World) (*calls, error) {
	nc, err := w.dial()
	if err != nil {
		return nil, err
	}
	c := &calls{
		raw: natsCall(nc, rawSubject), micro: natsCall(nc, microSubject),
		endpoint: natsCall(nc, wire.Subject(organizationv1.OrganizationService_GetOrganization_FullMethodName)),
	}
	for role, over := range map[string]*call{answers: nil, alone: &c.direct, minimalBridge: &c.minimal, ourBridge: &c.bridge} {
		addr, p, err := b.peer(ctx, w, role)
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, p.Close)
		if over == nil {
			continue
		}
		if *over, err = grpcCall(addr); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// up has its process for its own rounds alone: it has a NATS server in it.
func (b RPC) up(ctx context.Context, w *World, r *Round) error {
	addr, p, err := b.peer(ctx, w, oneProcess)
	if err != nil {
		return err
	}
	f, err := grpcCall(addr)
	if err == nil {
		err = closedLoop(ctx, r, 1, b.Duration, f)
	}
	return errors.Join(err, p.Close())
}

func grpcCall(addr string) (call, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	client := organizationv1.NewOrganizationServiceClient(conn)
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := client.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: organization})
		return err
	}, nil
}
