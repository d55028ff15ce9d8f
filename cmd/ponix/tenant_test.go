package main

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "ponix/proto/ponix/auth/v1"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

const secret = "a secret of 32 bytes, or of more"

// as returns a context with the token of somebody.
func as(t *testing.T, role, organization string) context.Context {
	t.Helper()
	claims := jwt.MapClaims{"sub": "ada", "role": role, "exp": time.Now().Add(time.Hour).Unix()}
	if organization != "" {
		claims["organization_id"] = organization
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+raw)
}

// bridged runs every function, and a bridge that asks for tokens.
func bridged(t *testing.T) *grpc.ClientConn {
	t.Helper()
	c := enginesOnly(t)
	serve := start(t, c.env, "serve")
	bridge := start(t, append(c.env, "PONIX_AUTH_SECRET="+secret), "bridge", "--grpc-port", "0")
	addr := bridge.waitFor(t, 20*time.Second, `msg="serving gRPC" address=(\S+) .*authentication=true`)[1]
	serve.waitFor(t, 20*time.Second, "msg=serving")
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return conn
}

// things are what a tenant has.
type things struct{ organization, device, gateway string }

func (x things) envelope() *envelopev1.ProcessedEnvelope {
	return &envelopev1.ProcessedEnvelope{OrganizationId: x.organization, EndDeviceId: x.device, OccurredAt: timestamppb.New(time.Unix(1, 0)), EnvelopeId: "e", Data: &structpb.Struct{}}
}

// own makes things as an admin.
func own(t *testing.T, conn grpc.ClientConnInterface) things {
	t.Helper()
	ctx := as(t, "admin", "")
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	o, err := organizationv1.NewOrganizationServiceClient(conn).CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: "acme"})
	must(err)
	d, err := enddevicev1.NewEndDeviceServiceClient(conn).CreateEndDevice(ctx, &enddevicev1.CreateEndDeviceRequest{OrganizationId: o.OrganizationId, Name: "d", PayloadConversion: decode})
	must(err)
	g, err := gatewayv1.NewGatewayServiceClient(conn).CreateGateway(ctx, &gatewayv1.CreateGatewayRequest{OrganizationId: o.OrganizationId, Name: "g", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX, Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: broker}})
	must(err)
	x := things{o.OrganizationId, d.EndDevice.DeviceId, g.Gateway.GatewayId}
	_, err = envelopev1.NewEnvelopeServiceClient(conn).WriteProcessedEnvelopes(ctx, &envelopev1.WriteProcessedEnvelopesRequest{Envelopes: []*envelopev1.ProcessedEnvelope{x.envelope()}})
	must(err)
	return x
}

var broker = &gatewayv1.EMQXGatewayConfig{BrokerUrl: "mqtt://user:hunter2@broker"}

// adminOnly are the rpcs that look at all tenants, or make and remove them.
var adminOnly = []protoreflect.Name{"CreateOrganization", "UpdateOrganization", "DeleteOrganization", "ListOrganizations", "GetCdcStatus"}

// methods are every rpc of Ponix.
func methods() (all []protoreflect.MethodDescriptor) {
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				if m := f.Services().Get(i).Methods().Get(j); strings.HasPrefix(string(m.FullName()), "ponix.") {
					all = append(all, m)
				}
			}
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.MethodDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	return all
}

func rpcOf(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

// answer calls any rpc, and returns what the caller learns, whatever the ids in it.
func answer(t *testing.T, ctx context.Context, conn grpc.ClientConnInterface, m protoreflect.MethodDescriptor, req proto.Message) (string, error) { //nolint:revive // as everywhere in tests
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		t.Fatal(err)
	}
	resp := kind.New().Interface()
	err = conn.Invoke(ctx, rpcOf(m), req, resp)
	text, mErr := proto.MarshalOptions{Deterministic: true}.Marshal(resp)
	if mErr != nil {
		t.Fatal(mErr)
	}
	if err != nil {
		text = []byte(status.Convert(err).Proto().String())
	}
	return someID.ReplaceAllString(string(text), "ID"), err
}

var someID = regexp.MustCompile(`[0-9a-v]{20}`)

func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// TestTenantsSeeNothingOfEachOther has a member of one organization reach for
// what is another's by every rpc: the answer is that for what does not exist.
func TestTenantsSeeNothingOfEachOther(t *testing.T) {
	t.Parallel()
	conn := bridged(t)
	theirs, mine := own(t, conn), own(t, conn)
	nothing := things{next(theirs.organization), next(theirs.device), next(theirs.gateway)} // ids, guessed
	runtimetest.Eventually(t, 20*time.Second, func() error {                                // it has to be there to be found
		_, err := gatewayv1.NewGatewayStateServiceClient(conn).GetGatewayState(as(t, "admin", ""), &gatewayv1.GetGatewayStateRequest{GatewayId: theirs.gateway})
		if status.Code(err) == codes.Unavailable { // no function keeps it
			return nil
		}
		return err
	})
	before := snapshot(t, conn, theirs)
	member := as(t, "member", mine.organization)
	for _, m := range methods() {
		requests, ok := attempts[rpcOf(m)]
		if slices.Contains(adminOnly, m.Name()) {
			_, err := answer(t, member, conn, m, &enddevicev1.DeleteEndDeviceResponse{})
			if reasonOf(err) != "ROLE_REQUIRED" {
				t.Errorf("%s: got %v", m.Name(), err)
			}
			continue
		}
		if !ok {
			t.Errorf("%s is not tried", m.FullName())
			continue
		}
		absent := requests(nothing, mine.organization)
		for i, req := range requests(theirs, mine.organization) {
			got, err := answer(t, member, conn, m, req)
			want, _ := answer(t, member, conn, m, absent[i])
			if got != want {
				t.Errorf("%s, attempt %d: another's is %q, and what does not exist %q", m.Name(), i, got, want)
			}
			code := codes.NotFound
			if strings.HasPrefix(string(m.Name()), "BatchGet") { // which leaves out what does not exist
				code = codes.OK
			}
			if i == 0 && status.Code(err) != code && status.Code(err) != codes.Unavailable { // of functions that are not there
				t.Errorf("%s: got %v", m.Name(), err)
			}
		}
	}
	if after := snapshot(t, conn, theirs); before != after {
		t.Errorf("what is theirs was\n%s\nand is\n%s", before, after)
	}
}

// next is the id that was made after another, if any was.
func next(id string) string {
	last := "0123456789abcdefghijklmnopqrstuv"
	return id[:18] + string(last[(strings.IndexByte(last, id[18])+1)%32]) + id[19:]
}

// snapshot is all that an admin sees of a tenant's things.
func snapshot(t *testing.T, conn grpc.ClientConnInterface, x things) string {
	t.Helper()
	var all strings.Builder
	for _, m := range methods() {
		name := string(m.Name())
		if slices.Contains(adminOnly, m.Name()) || !strings.HasPrefix(name, "Get") && !strings.HasPrefix(name, "List") || m.Parent().Name() == "GatewayStateService" {
			continue
		}
		text, err := answer(t, as(t, "admin", ""), conn, m, attempts[rpcOf(m)](x, x.organization)[0])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all.WriteString(name + " " + text + "\n")
	}
	return all.String()
}

// TestEachRPCNamesItsRoles holds the options in the .proto files to who may do
// what, and calls each rpc without a token and as a device.
func TestEachRPCNamesItsRoles(t *testing.T) {
	t.Parallel()
	conn := bridged(t)
	for _, m := range methods() {
		want := []authv1.Role{authv1.Role_ROLE_ADMIN, authv1.Role_ROLE_MEMBER, authv1.Role_ROLE_DEVICE}
		switch {
		case slices.Contains(adminOnly, m.Name()):
			want = want[:1]
		case m.Name() != "PublishRawEnvelopes":
			want = want[:2]
		}
		if got := wire.Roles(m); !slices.Equal(got, want) {
			t.Errorf("%s may be called by %v, want %v", m.Name(), got, want)
		}
		empty := &enddevicev1.DeleteEndDeviceResponse{}
		if _, err := answer(t, t.Context(), conn, m, empty); reasonOf(err) != "TOKEN_MISSING" {
			t.Errorf("%s without a token: %v", m.Name(), err)
		}
		_, err := answer(t, as(t, "device", "o1"), conn, m, empty)
		if refused := reasonOf(err) == "ROLE_REQUIRED"; refused != (len(want) < 3) {
			t.Errorf("%s as a device: %v", m.Name(), err)
		}
	}
}
