package bridge_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// begun counts the connections of a client.
type begun struct{ atomic.Int64 }

func (*begun) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*begun) HandleRPC(context.Context, stats.RPCStats)                         {}
func (*begun) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (b *begun) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, yes := s.(*stats.ConnBegin); yes {
		b.Add(1)
	}
}

// TestAgeOfAConnection holds that a client makes a new connection now and then, by which it
// finds other instances behind a balancer, and that no call is lost with the old one.
func TestAgeOfAConnection(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	host, err := runtime.Start(t.Context(), runtime.Config{Conn: nc}, runtime.Func("organization",
		runtime.Endpoint(getRPC, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
			time.Sleep(50 * time.Millisecond)
			return &organizationv1.GetOrganizationResponse{}, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Stop() }) //nolint:errcheck // the test is over
	addr := serveBridge(t, nc, bridge.Config{MaxAge: 200 * time.Millisecond}, insecure.NewCredentials()).Target()
	connections := &begun{}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(connections))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	client := organizationv1.NewOrganizationServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var callers errgroup.Group
	for range 8 {
		callers.Go(func() error {
			for connections.Load() < 4 {
				if _, err := client.GetOrganization(ctx, get("o1")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := callers.Wait(); err != nil {
		t.Errorf("after %d connections: %v", connections.Load(), err)
	}
}
