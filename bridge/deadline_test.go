package bridge_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestTimeOfACall holds that a caller has the time that it asks for, up to two minutes, and one
// that asks for none the bridge's own.
func TestTimeOfACall(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	left := make(chan time.Duration, 1)
	host, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Logger: slog.New(slog.DiscardHandler)}, runtime.Func("organization",
		runtime.Endpoint(getRPC, func(ctx context.Context, _ *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
			deadline, _ := ctx.Deadline()
			left <- time.Until(deadline)
			return &organizationv1.GetOrganizationResponse{}, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Stop() }) //nolint:errcheck // the test is over
	client := organizationv1.NewOrganizationServiceClient(serveBridge(t, nc, bridge.Config{Timeout: 40 * time.Second}, insecure.NewCredentials()))
	for asked, most := range map[time.Duration]time.Duration{0: 40 * time.Second, 80 * time.Second: 80 * time.Second, time.Hour: 2 * time.Minute} {
		ctx := t.Context()
		if asked > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, asked)
			defer cancel()
		}
		if _, err := client.GetOrganization(ctx, get("o1")); err != nil {
			t.Fatal(err)
		}
		if has := <-left; has > most || has < most-30*time.Second {
			t.Errorf("a caller that asks for %v has %v", asked, has)
		}
	}
}

// TestStopHasAnEnd stops a bridge beside a call that does not end.
func TestStopHasAnEnd(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	asked, err := nc.SubscribeSync("ponix.organization.v1.OrganizationService.GetOrganization") // who does not answer
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := bridge.Start(ln, bridge.Config{Conn: nc, Timeout: time.Hour, Grace: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	answered := make(chan error, 1)
	go func() {
		_, err := organizationv1.NewOrganizationServiceClient(conn).GetOrganization(t.Context(), get("o1"))
		answered <- err
	}()
	if _, err := asked.NextMsg(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := <-answered; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

// TestFailed has the listener end without anybody having asked for it: the bridge says so.
func TestFailed(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := bridge.Start(ln, bridge.Config{Conn: runtimetest.NATS(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.Failed():
		if err == nil {
			t.Error("it failed with nothing")
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody hears of it")
	}
}
