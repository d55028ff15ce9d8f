package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

const getRPC = organizationv1.OrganizationService_GetOrganization_FullMethodName

type getHandler = func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error)

func testStreams() streams.Config {
	return streams.Config{Raw: "raw_envelopes", Processed: "processed_envelopes", Gateways: "gateways", Replicas: 1, MaxBytes: 1 << 26, AckWait: 30 * time.Second, ReplayWindow: time.Hour}
}

func start(t *testing.T, nc *nats.Conn, fns ...runtime.Function) *runtime.Host {
	t.Helper()
	return startWith(t, nc, testStreams(), fns...)
}

func startWith(t *testing.T, nc *nats.Conn, c streams.Config, fns ...runtime.Function) *runtime.Host {
	t.Helper()
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: c, Concurrency: 4, Grace: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}, fns...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// metrics is what h tells Prometheus.
func metrics(h *runtime.Host) string {
	w := httptest.NewRecorder()
	h.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// eventually waits until ok: not for as long as the AckWait of testStreams, after which a message
// that nobody has would come again.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(25 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("never came true: " + what)
}

func serve(t *testing.T, h getHandler) (*nats.Conn, organizationv1.OrganizationServiceClient) {
	nc := runtimetest.NATS(t)
	start(t, nc, runtime.Func("organization", runtime.Endpoint(getRPC, h)))
	return nc, organizationv1.NewOrganizationServiceClient(wire.NewClient(nc))
}

func TestEndpointAnswers(t *testing.T) {
	t.Parallel()
	nc, client := serve(t, func(ctx context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId, Name: strings.Join(md["who"], ",")}}, nil
	})
	resp, err := client.GetOrganization(metadata.AppendToOutgoingContext(t.Context(), "who", "me"), &organizationv1.GetOrganizationRequest{OrganizationId: "o1"})
	if err != nil || resp.Organization.Id != "o1" || resp.Organization.Name != "me" {
		t.Fatalf("got %v, %v", resp, err)
	}
	raw, err := nc.Request(wire.Subject(getRPC), []byte(`{"organization_id":"o2"}`), 10*time.Second)
	if err != nil || !strings.Contains(string(raw.Data), `"o2"`) {
		t.Fatalf("by hand: %s, %v", raw.Data, err)
	}
}

// TestTraceOfCalls holds that the calls which one call makes have one trace, also where
// nobody has begun it.
func TestTraceOfCalls(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	client := organizationv1.NewOrganizationServiceClient(wire.NewClient(nc))
	get := func(ctx context.Context, id string) (string, error) {
		resp, err := client.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: id})
		return resp.GetOrganization().GetName(), err
	}
	both := func(ctx context.Context) (string, error) {
		one, err := get(ctx, "one")
		if err != nil {
			return "", err
		}
		two, err := get(ctx, "two")
		return one + " " + two, err
	}
	start(t, nc, runtime.Func("organization", runtime.Endpoint(getRPC, func(ctx context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		name := trace.SpanContextFromContext(ctx).TraceID().String()
		var err error
		if req.OrganizationId == "first" {
			name, err = both(ctx)
		}
		return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId, Name: name}}, err
	})))
	ofSource := make(chan string, 1)
	start(t, nc, runtime.Func("source", runtime.Source("calls", func(ctx context.Context) error {
		name, err := both(ctx)
		if err != nil {
			return err
		}
		ofSource <- name
		<-ctx.Done()
		return nil
	})))
	seen := map[string]bool{trace.TraceID{}.String(): true} // which is none
	check := func(name string, err error) {
		t.Helper()
		one, two, _ := strings.Cut(name, " ")
		if err != nil || one != two || seen[one] {
			t.Errorf("the traces are %q, %v, after %v", name, err, seen)
		}
		seen[one] = true
	}
	check(get(t.Context(), "first"))
	check(get(t.Context(), "first"))
	check(<-ofSource, nil)
}

func TestEndpointErrors(t *testing.T) {
	t.Parallel()
	answers := map[string]error{
		"known":   runtime.Error(codes.NotFound, "ORGANIZATION_NOT_FOUND", "organization known does not exist"),
		"secret":  errors.New("password is hunter2"),
		"timeout": context.DeadlineExceeded,
	}
	nc, client := serve(t, func(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		if req.OrganizationId == "panic" {
			panic("hunter2")
		}
		return nil, answers[req.OrganizationId]
	})
	for id, want := range map[string]struct {
		code    codes.Code
		message string
	}{
		"known":   {codes.NotFound, "organization known does not exist"},
		"secret":  {codes.Internal, "internal error"},
		"panic":   {codes.Internal, "internal error"},
		"timeout": {codes.DeadlineExceeded, "the deadline passed before the call was done"},
		"a b":     {codes.InvalidArgument, "organization_id: must be an id: 1 to 64 letters, digits, '_' or '-'"},
	} {
		_, err := client.GetOrganization(t.Context(), &organizationv1.GetOrganizationRequest{OrganizationId: id})
		if st := status.Convert(err); st.Code() != want.code || st.Message() != want.message {
			t.Errorf("%s: got %v", id, err)
		}
	}
	reply, err := nc.Request(wire.Subject(getRPC), []byte(`{"organization_id":""}`), 10*time.Second)
	if err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "3" || !json.Valid(reply.Data) {
		t.Fatalf("by hand: %v %s, %v", reply.Header, reply.Data, err)
	}
	bad := false
	for _, d := range wire.ReplyStatus(reply).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok && b.FieldViolations[0].Field == "organization_id" {
			bad = true
		}
	}
	if !bad {
		t.Errorf("no field violation in %s", reply.Data)
	}
	if reply, err = nc.Request(wire.Subject(getRPC), []byte{0xff}, 10*time.Second); err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "3" {
		t.Errorf("undecodable: %v, %v", reply, err)
	}
	reply, err = nc.Request(wire.Subject(getRPC), []byte("{\xff"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if st := wire.ReplyStatus(reply); st.Code() != codes.InvalidArgument || len(st.Details()) != 1 || !json.Valid(reply.Data) {
		t.Errorf("the error quotes what is no text: %v, %s", st, reply.Data)
	}
}

func TestEndpointRunsConcurrentlyUpToItsCapacity(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ size, fit int }{"calls": {0, 4}, "bytes": {24 << 20, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := runtimetest.Connect(t, runtimetest.NATSServer(t, func(o *server.Options) { o.MaxPayload, o.MaxPending = 32<<20, 256<<20 }))
			release, running := make(chan struct{}), make(chan struct{}, 16)
			start(t, nc, runtime.Func("organization", runtime.Endpoint(getRPC, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
				running <- struct{}{}
				<-release
				return &organizationv1.GetOrganizationResponse{}, nil
			})))
			request := append([]byte(`{"organization_id":"o"}`), bytes.Repeat([]byte{' '}, c.size)...)
			call := func() codes.Code {
				reply, err := nc.Request(wire.Subject(getRPC), request, time.Minute)
				if err != nil {
					t.Error(err)
					return codes.Unavailable
				}
				return wire.ReplyStatus(reply).Code()
			}
			results := make(chan codes.Code, c.fit)
			for range c.fit {
				go func() { results <- call() }()
			}
			for range c.fit {
				<-running
			}
			if code := call(); code != codes.ResourceExhausted {
				t.Errorf("one more: %v", code)
			}
			close(release)
			for range c.fit {
				if code := <-results; code != codes.OK {
					t.Error(code)
				}
			}
		})
	}
}

func TestDeadlineTravels(t *testing.T) {
	t.Parallel()
	left := make(chan time.Duration, 1)
	_, client := serve(t, func(ctx context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		if req.OrganizationId == "waits" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return &organizationv1.GetOrganizationResponse{}, nil
	})
	call := func(id string, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := client.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: id})
		return err
	}
	if err := call("waits", 200*time.Millisecond); status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
	for _, within := range []time.Duration{15 * time.Second, time.Minute} { // less, and more, than a call has by itself
		if err := call("answers", within); err != nil {
			t.Fatal(err)
		}
		if d := <-left; d > within || d < within/2 {
			t.Errorf("of %v the function had %v", within, d)
		}
	}
}

func TestNobodyServes(t *testing.T) {
	t.Parallel()
	client := organizationv1.NewOrganizationServiceClient(wire.NewClient(runtimetest.NATS(t)))
	_, err := client.GetOrganization(t.Context(), &organizationv1.GetOrganizationRequest{OrganizationId: "o"})
	if st := status.Convert(err); st.Code() != codes.Unavailable || !strings.Contains(st.Message(), "ponix.organization.v1.OrganizationService") {
		t.Error(err)
	}
}

func TestStatsAreTrue(t *testing.T) {
	t.Parallel()
	nc, client := serve(t, func(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		time.Sleep(time.Millisecond) // work
		if req.OrganizationId == "bad" {
			return nil, runtime.Error(codes.NotFound, "X", "no such organization")
		}
		return &organizationv1.GetOrganizationResponse{}, nil
	})
	for _, id := range []string{"a", "b", "bad"} {
		client.GetOrganization(t.Context(), &organizationv1.GetOrganizationRequest{OrganizationId: id}) //nolint:errcheck // counted below
	}
	var stats micro.Stats
	var info micro.Info
	ask(t, nc, "$SRV.STATS.organization", &stats)
	ask(t, nc, "$SRV.INFO.organization", &info)
	e := stats.Endpoints[0]
	if e.NumRequests != 3 || e.NumErrors != 1 || e.LastError != "no such organization" || e.ProcessingTime < 3*time.Millisecond || e.AverageProcessingTime < time.Millisecond {
		t.Errorf("stats: %+v", e)
	}
	if got := info.Endpoints[0]; got.Subject != "ponix.organization.v1.OrganizationService.GetOrganization" || got.Metadata["request"] != "ponix.organization.v1.GetOrganizationRequest" {
		t.Errorf("info: %+v", got)
	}
}

func ask(t *testing.T, nc *nats.Conn, subject string, into any) {
	t.Helper()
	m, err := nc.Request(subject, nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m.Data, into); err != nil {
		t.Fatal(err)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		return nil, nil
	}
	noop := func(context.Context, *envelopev1.RawEnvelope) error { return nil }
	for want, fns := range map[string][]runtime.Function{
		`function "a b"`:                    {runtime.Func("a b")},
		"function a is listed twice":        {runtime.Func("a"), runtime.Func("a")},
		"is bound by a already":             {runtime.Func("a", runtime.Endpoint(getRPC, h)), runtime.Func("b", runtime.Endpoint(getRPC, h))},
		"is in no linked .proto file":       {runtime.Func("a", runtime.Endpoint("/ponix.x.v1.X/Y", h))},
		"but its handler takes":             {runtime.Func("a", runtime.Endpoint(organizationv1.OrganizationService_DeleteOrganization_FullMethodName, h))},
		`has no consumer "nope"`:            {runtime.Func("a", runtime.OnMessage(testStreams().RawEnvelopes(), "nope", noop))},
		`stream "raw_envelopes" has no con`: {runtime.Func("a", runtime.OnBatch(testStreams().RawEnvelopes(), "", runtime.Batch{}, whole, func(context.Context, []*envelopev1.RawEnvelope) error { return nil }))},
	} {
		if err := runtime.Check(fns...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	started, release := make(chan struct{}), make(chan struct{})
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Logger: slog.New(slog.DiscardHandler)}, runtime.Func("organization",
		runtime.Endpoint(getRPC, func(context.Context, *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
			close(started)
			<-release
			return &organizationv1.GetOrganizationResponse{}, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	client := organizationv1.NewOrganizationServiceClient(wire.NewClient(nc))
	answered, stopped := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := client.GetOrganization(context.Background(), &organizationv1.GetOrganizationRequest{OrganizationId: "o"})
		answered <- err
	}()
	<-started
	go func() { stopped <- h.Stop() }()
	eventually(t, "no new requests", func() bool {
		_, err := client.GetOrganization(t.Context(), &organizationv1.GetOrganizationRequest{OrganizationId: "o"})
		return status.Code(err) == codes.Unavailable
	})
	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestGivenUpAtStop holds that a call which a stopping instance gives up is UNAVAILABLE
// to its caller, who has not cancelled it.
func TestGivenUpAtStop(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	inside := make(chan struct{})
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Grace: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, runtime.Func("organization",
		runtime.Endpoint(getRPC, func(ctx context.Context, _ *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
			close(inside)
			<-ctx.Done()
			return nil, ctx.Err()
		})))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := organizationv1.NewOrganizationServiceClient(wire.NewClient(nc)).GetOrganization(t.Context(), &organizationv1.GetOrganizationRequest{OrganizationId: "o"})
		got <- err
	}()
	<-inside
	if err := h.Stop(); err == nil {
		t.Error("Stop says nothing of the call")
	}
	if err := <-got; status.Code(err) != codes.Unavailable {
		t.Errorf("the caller gets %v", err)
	}
}

// TestStartWithoutNATS has the server go away just before an instance starts, and come
// back.
func TestStartWithoutNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := runtimetest.Port(t)
	on := func(o *server.Options) { o.StoreDir, o.Port = dir, port }
	srv := runtimetest.NATSServer(t, on)
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	srv.Shutdown()
	srv.WaitForShutdown()
	eventually(t, "the connection is gone", func() bool { return !nc.IsConnected() })

	waits := make(chan struct{}, 1)
	log := slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		if bytes.Contains(line, []byte("waiting for NATS to answer")) {
			select {
			case waits <- struct{}{}:
			default:
			}
		}
		return len(line), nil
	}), nil))
	launch := func(ctx context.Context) error {
		h, err := runtime.Start(ctx, runtime.Config{Conn: nc, Streams: testStreams(), Logger: log}, identity())
		if err != nil {
			return err
		}
		return h.Stop()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- launch(ctx) }()
	select {
	case <-waits:
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("it started without NATS")
	}

	go func() { ended <- launch(t.Context()) }()
	runtimetest.NATSServer(t, on)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
