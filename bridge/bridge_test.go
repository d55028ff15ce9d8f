package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(idleVariable); addr != "" {
		if err := crowd(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	runtimetest.Main(m)
}

const (
	getRPC  = organizationv1.OrganizationService_GetOrganization_FullMethodName
	maxSize = 1 << 16
)

type getHandler = func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error)

// dial starts a bridge on nc and returns a client of it.
func dial(t *testing.T, nc *nats.Conn, options ...grpc.DialOption) (*grpc.ClientConn, *bridge.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := bridge.Start(ln, bridge.Config{Conn: nc, MaxMessage: maxSize, Timeout: time.Minute, Grace: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient(s.Addr().String(), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return conn, s
}

// serve hosts GetOrganization and returns a gRPC client of it.
func serve(t *testing.T, h getHandler, options ...grpc.DialOption) (organizationv1.OrganizationServiceClient, *bridge.Server) {
	t.Helper()
	nc := runtimetest.NATS(t)
	host, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Logger: slog.New(slog.DiscardHandler)},
		runtime.Func("organization", runtime.Endpoint(getRPC, h)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn, s := dial(t, nc, options...)
	return organizationv1.NewOrganizationServiceClient(conn), s
}

func get(id string) *organizationv1.GetOrganizationRequest {
	return &organizationv1.GetOrganizationRequest{OrganizationId: id}
}

func TestCallReachesTheFunction(t *testing.T) {
	t.Parallel()
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	client, _ := serve(t, func(ctx context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		deadline, _ := ctx.Deadline()
		if left := time.Until(deadline); left > 15*time.Second {
			t.Errorf("the caller has 15 s, the function %v", left)
		}
		if id := trace.SpanContextFromContext(ctx).TraceID().String(); id != traceID {
			t.Errorf("the trace is %s", id)
		}
		return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId, Name: strings.Join(append(md["tenant"], md["note-bin"]...), ",")}}, nil
	})
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceID+"-b7ad6b7169203331-01", "tenant", "acme", "note-bin", "\r\na\u00e9", "note-bin", " \n"), 15*time.Second)
	defer cancel()
	resp, err := client.GetOrganization(ctx, get("o1"))
	if err != nil || resp.Organization.Id != "o1" || resp.Organization.Name != "acme,\r\na\u00e9, \n" {
		t.Fatalf("got %v, %v", resp, err)
	}
}

// TestCompressedCalls holds that callers may compress, and that what they send is as
// limited as it is without that. The bridge alone has gzip linked in here.
func TestCompressedCalls(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, func(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId}}, nil
	})
	gzip := grpc.UseCompressor("gzip")
	if resp, err := client.GetOrganization(t.Context(), get("o1"), gzip); err != nil || resp.Organization.Id != "o1" {
		t.Fatalf("got %v, %v", resp, err)
	}
	if _, err := client.GetOrganization(t.Context(), get(strings.Repeat("a", maxSize)), gzip); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too large: got %v", err)
	}
}

func TestStatusPassesUnchanged(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		return nil, runtime.InvalidField("organization_id", "is not nice")
	})
	_, err := client.GetOrganization(t.Context(), get("o1"))
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument {
		t.Fatalf("got %v", err)
	}
	var fields []string
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				fields = append(fields, v.Field+" "+v.Description)
			}
		}
	}
	if !slices.Equal(fields, []string{"organization_id is not nice"}) {
		t.Errorf("field violations: %q", fields)
	}
}

// TestLongErrorsArrive holds that an error with thousands of bad fields reaches a client
// that takes 8 KiB of headers, as those of Java and the C core do.
func TestLongErrorsArrive(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		var bad []*runtime.Violation
		for range 5_000 {
			bad = append(bad, &runtime.Violation{Field: "organization_id", Description: "muß anders sein"})
		}
		return nil, runtime.Invalid(bad...)
	}, grpc.WithMaxHeaderListSize(8<<10))
	if _, err := client.GetOrganization(t.Context(), get("o1")); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "5000 fields are bad") {
		t.Errorf("got %v", err)
	}
}

func TestFailuresOnTheWay(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, func(ctx context.Context, _ *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	tests := map[string]struct {
		call func(context.Context) error
		code codes.Code
		says string
	}{
		"deadline": {func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			_, err := client.GetOrganization(ctx, get("o1"))
			return err
		}, codes.DeadlineExceeded, ""},
		"nobody serves it": {func(ctx context.Context) error {
			_, err := client.CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: "acme"})
			return err
		}, codes.Unavailable, "ponix.organization.v1.OrganizationService"},
		"too large": {func(ctx context.Context) error {
			_, err := client.CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: strings.Repeat("a", maxSize)})
			return err
		}, codes.ResourceExhausted, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.call(t.Context())
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v with %q", err, tt.code, tt.says)
			}
		})
	}
}

func TestUnknownService(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, runtimetest.NATS(t))
	err := conn.Invoke(t.Context(), "/ponix.none.v1.None/Do", &emptypb.Empty{}, &emptypb.Empty{})
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "ponix.none.v1.None/Do") {
		t.Errorf("got %v", err)
	}
}

func TestReflectionListsEveryService(t *testing.T) {
	t.Parallel()
	conn, _ := dial(t, runtimetest.NATS(t))
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range resp.GetListServicesResponse().Service {
		names = append(names, s.Name)
	}
	for _, want := range []string{
		"ponix.organization.v1.OrganizationService", "ponix.end_device.v1.EndDeviceService", "ponix.gateway.v1.GatewayService",
		"ponix.gateway.v1.GatewayStateService", "ponix.envelope.v1.ConversionService", "ponix.envelope.v1.EnvelopeService",
		"ponix.cdc.v1.CdcService", "grpc.health.v1.Health",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in %q", want, names)
		}
	}
}

func TestHealthFollowsNATS(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	conn, _ := dial(t, runtimetest.Connect(t, srv))
	health := healthv1.NewHealthClient(conn)
	is := func(want healthv1.HealthCheckResponse_ServingStatus) func() error {
		return func() error {
			resp, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
			if err == nil && resp.Status != want {
				err = status.Errorf(codes.Unknown, "health is %v, not %v", resp.Status, want)
			}
			return err
		}
	}
	runtimetest.Eventually(t, 5*time.Second, is(healthv1.HealthCheckResponse_SERVING))
	srv.Shutdown()
	runtimetest.Eventually(t, 5*time.Second, is(healthv1.HealthCheckResponse_NOT_SERVING))
}

func TestStopLetsCallsFinish(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	client, s := serve(t, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		close(entered)
		<-leave
		return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: "o1"}}, nil
	})
	answered := make(chan error, 1)
	go func() {
		_, err := client.GetOrganization(t.Context(), get("o1"))
		answered <- err
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { s.Stop(); close(stopped) }()
	runtimetest.Eventually(t, 5*time.Second, func() error { // new calls are refused before the old one ends
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if c, err := net.DialTimeout("tcp", s.Addr().String(), time.Second); err == nil {
			c.Close() //nolint:errcheck // only to see whether it opens
			return status.Error(codes.Unknown, "the port still opens")
		}
		return ctx.Err()
	})
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the call that ran got %v", err)
	}
	<-stopped
}

// TestStopWithStreams stops a bridge whose health somebody watches, and of which somebody
// asks for descriptors: they do not hold it up.
func TestStopWithStreams(t *testing.T) {
	t.Parallel()
	conn, s := dial(t, runtimetest.NATS(t))
	w, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	r, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	if err := r.Send(list); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Recv(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 2*time.Second { // of the minute of grace
		t.Errorf("Stop took %v", took)
	}
	if _, err := r.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

// TestHealthWithoutNATS holds that no service is said to be served while NATS is away.
func TestHealthWithoutNATS(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	conn, _ := dial(t, runtimetest.Connect(t, srv))
	srv.Shutdown()
	for _, name := range []string{"", organizationv1.OrganizationService_ServiceDesc.ServiceName} {
		runtimetest.Eventually(t, 5*time.Second, func() error {
			r, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
			if err == nil && r.Status != healthv1.HealthCheckResponse_NOT_SERVING {
				err = fmt.Errorf("service %q is %v", name, r.Status)
			}
			return err
		})
	}
}

// TestUnavailableIsLoggedNowAndThen holds that callers cannot fill the log while a
// function is away.
func TestUnavailableIsLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, err := bridge.Start(ln, bridge.Config{Conn: runtimetest.NATS(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	const calls = 100
	for range calls {
		if _, err := organizationv1.NewOrganizationServiceClient(conn).GetOrganization(t.Context(), get("o1")); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	}
	conn.Close() //nolint:errcheck // the test is over
	s.Stop()
	if lines := strings.Count(log.String(), "no instance serves"); lines == 0 || lines > calls/10 {
		t.Errorf("%d calls are %d lines", calls, lines)
	}
}
