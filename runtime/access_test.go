package runtime_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "ponix/proto/ponix/auth/v1"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

var (
	admin  = wire.Principal{Subject: "root", Role: authv1.Role_ROLE_ADMIN}
	member = wire.Principal{Subject: "ada", Organization: "o1", Role: authv1.Role_ROLE_MEMBER}
	device = wire.Principal{Subject: "d1", Organization: "o1", Role: authv1.Role_ROLE_DEVICE}
	fleet  = wire.Principal{Subject: "fleet:north", Organization: "o1", Role: authv1.Role_ROLE_DEVICE}
)

// careless serves two methods with handlers that hold nobody to anything.
func careless(t *testing.T) *nats.Conn {
	t.Helper()
	nc := runtimetest.NATS(t)
	start(t, nc, runtime.Func("careless",
		runtime.Endpoint(enddevicev1.EndDeviceService_GetEndDevice_FullMethodName, func(ctx context.Context, req *enddevicev1.GetEndDeviceRequest) (*enddevicev1.GetEndDeviceResponse, error) {
			return &enddevicev1.GetEndDeviceResponse{EndDevice: &enddevicev1.EndDevice{DeviceId: req.DeviceId, OrganizationId: req.DeviceId, Name: runtime.Tenant(ctx)}}, nil
		}),
		runtime.Endpoint(envelopev1.EnvelopeService_WriteProcessedEnvelopes_FullMethodName, func(context.Context, *envelopev1.WriteProcessedEnvelopesRequest) (*envelopev1.WriteProcessedEnvelopesResponse, error) {
			return &envelopev1.WriteProcessedEnvelopesResponse{}, nil
		}),
		runtime.Endpoint(envelopev1.EnvelopeService_PublishRawEnvelopes_FullMethodName, func(context.Context, *envelopev1.PublishRawEnvelopesRequest) (*envelopev1.PublishRawEnvelopesResponse, error) {
			return &envelopev1.PublishRawEnvelopesResponse{}, nil
		})))
	return nc
}

func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func raw(pairs ...string) *envelopev1.PublishRawEnvelopesRequest {
	req := &envelopev1.PublishRawEnvelopesRequest{}
	for i := 0; i < len(pairs); i += 2 {
		req.Envelopes = append(req.Envelopes, &envelopev1.RawEnvelope{OrganizationId: pairs[i], DeviceId: pairs[i+1]})
	}
	return req
}

func TestCallersStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	nc := careless(t)
	publish := func(req *envelopev1.PublishRawEnvelopesRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := envelopev1.NewEnvelopeServiceClient(wire.NewClient(nc)).PublishRawEnvelopes(ctx, req)
			return err
		}
	}
	for name, tt := range map[string]struct {
		who    *wire.Principal
		call   func(context.Context) error
		code   codes.Code
		reason string
	}{
		"nobody":                       {nil, publish(raw("o2", "d2")), codes.OK, ""},
		"an admin":                     {&admin, publish(raw("o2", "d2")), codes.OK, ""},
		"a member":                     {&member, publish(raw("o1", "d1", "o1", "d2")), codes.OK, ""},
		"a member, elsewhere":          {&member, publish(raw("o1", "d1", "o2", "d1")), codes.NotFound, "ORGANIZATION_NOT_FOUND"},
		"a device":                     {&device, publish(raw("o1", "d1")), codes.OK, ""},
		"a device as another":          {&device, publish(raw("o1", "d1", "o1", "d2")), codes.PermissionDenied, "OTHER_DEVICE"},
		"a device, elsewhere":          {&device, publish(raw("o2", "d1")), codes.NotFound, "ORGANIZATION_NOT_FOUND"},
		"a fleet":                      {&fleet, publish(raw("o1", "d1", "o1", "d2")), codes.OK, ""},
		"a fleet, elsewhere":           {&fleet, publish(raw("o2", "d1")), codes.NotFound, "ORGANIZATION_NOT_FOUND"},
		"a member reads":               {&member, read(nc, "o1"), codes.OK, ""},
		"a device reads":               {&device, read(nc, "o1"), codes.PermissionDenied, "ROLE_REQUIRED"},
		"a row of another tenant":      {&member, read(nc, "o2"), codes.Internal, ""}, // the net below a careless handler
		"an admin reads any":           {&admin, read(nc, "o2"), codes.OK, ""},
		"a payload that looks like it": {&member, write(nc, "o1"), codes.OK, ""},
		"an envelope of another":       {&member, write(nc, "o2"), codes.NotFound, "ORGANIZATION_NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if tt.who != nil {
				ctx = wire.WithPrincipal(ctx, *tt.who)
			}
			if err := tt.call(ctx); status.Code(err) != tt.code || reasonOf(err) != tt.reason {
				t.Errorf("got %v %s, want %v %s", err, reasonOf(err), tt.code, tt.reason)
			}
		})
	}
}

func read(nc *nats.Conn, id string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := enddevicev1.NewEndDeviceServiceClient(wire.NewClient(nc)).GetEndDevice(ctx, &enddevicev1.GetEndDeviceRequest{DeviceId: id})
		return err
	}
}

func write(nc *nats.Conn, organization string) func(context.Context) error {
	return func(ctx context.Context) error {
		data, err := structpb.NewStruct(map[string]any{"organization_id": "o9"})
		if err != nil {
			return err
		}
		_, err = envelopev1.NewEnvelopeServiceClient(wire.NewClient(nc)).WriteProcessedEnvelopes(ctx, &envelopev1.WriteProcessedEnvelopesRequest{
			Envelopes: []*envelopev1.ProcessedEnvelope{{OrganizationId: organization, EndDeviceId: "d1", OccurredAt: timestamppb.Now(), Data: data}},
		})
		return err
	}
}

// Headers that make no sense restrict nobody to anything: they are refused.
func TestHeadersOfACallerMustBeWhole(t *testing.T) {
	t.Parallel()
	nc := careless(t)
	for name, h := range map[string]nats.Header{
		"no role":              {wire.CallerHeader: {"ada"}, wire.OrganizationHeader: {"o1"}},
		"an unknown role":      {wire.CallerHeader: {"ada"}, wire.OrganizationHeader: {"o1"}, wire.RoleHeader: {"root"}},
		"nobody":               {wire.OrganizationHeader: {"o1"}, wire.RoleHeader: {"member"}},
		"a member of nothing":  {wire.CallerHeader: {"ada"}, wire.RoleHeader: {"member"}},
		"an admin of one":      {wire.CallerHeader: {"ada"}, wire.OrganizationHeader: {"o1"}, wire.RoleHeader: {"admin"}},
		"a role alone":         {wire.RoleHeader: {"member"}},
		"an organization only": {wire.OrganizationHeader: {"o1"}},
	} {
		reply, err := nc.RequestMsg(&nats.Msg{Subject: wire.Subject(enddevicev1.EndDeviceService_GetEndDevice_FullMethodName), Header: h, Data: []byte(`{"device_id":"o1"}`)}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if st := wire.ReplyStatus(reply); st.Code() != codes.PermissionDenied || reasonOf(st.Err()) != "CALLER_INVALID" {
			t.Errorf("%s: got %v", name, st)
		}
	}
}

func TestAMethodMustSayWhoMayCallIt(t *testing.T) {
	t.Parallel()
	err := runtime.Check(runtime.Func("health", runtime.Endpoint(healthv1.Health_Check_FullMethodName,
		func(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
			return nil, nil
		})))
	if err == nil || !strings.Contains(err.Error(), "ponix.auth.v1.access") {
		t.Errorf("got %v", err)
	}
}
