package bridge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"ponix/bridge"
	"ponix/bridge/token"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// bearer returns a context that brings a token.
func bearer(t *testing.T, subject, organization, role string) context.Context {
	t.Helper()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": subject, "organization_id": organization, "role": role, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+raw)
}

// guarded starts a bridge that asks for tokens, with changes, before a function
// that answers with the name of its caller.
func guarded(t *testing.T, c bridge.Config, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	nc := runtimetest.NATS(t)
	host, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Logger: slog.New(slog.DiscardHandler)}, runtime.Func("organization",
		runtime.Endpoint(getRPC, func(ctx context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
			p, ok := runtime.PrincipalFrom(ctx)
			return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId, Name: fmt.Sprint(ok, " ", p.Subject, " ", p.Organization, " ", p.Role)}}, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Stop(); err != nil {
			t.Error(err)
		}
	})
	if c.Tokens, err = token.New(t.Context(), token.Config{Secret: secret}); err != nil {
		t.Fatal(err)
	}
	return serveBridge(t, nc, c, creds)
}

func serveBridge(t *testing.T, nc *nats.Conn, c bridge.Config, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Conn, c.Logger = nc, slog.New(slog.DiscardHandler)
	s, err := bridge.Start(ln, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return conn
}

func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	organizations := organizationv1.NewOrganizationServiceClient(guarded(t, bridge.Config{}, insecure.NewCredentials()))
	spoofed := bearer(t, "ada", "o1", "member")
	for _, h := range []string{"ponix-role", "Ponix-Role", "PONIX-ROLE"} {
		spoofed = metadata.AppendToOutgoingContext(spoofed, h, "admin", "ponix-organization", "o2", "ponix-caller", "eve")
	}
	for name, tt := range map[string]struct {
		ctx    context.Context
		id     string
		code   codes.Code
		reason string
		caller string
	}{
		"no token":                     {t.Context(), "o1", codes.Unauthenticated, "TOKEN_MISSING", ""},
		"no token, but headers":        {metadata.AppendToOutgoingContext(t.Context(), "ponix-role", "admin", "ponix-caller", "eve"), "o1", codes.Unauthenticated, "TOKEN_MISSING", ""},
		"a bad token":                  {metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x"), "o1", codes.Unauthenticated, "TOKEN_INVALID", ""},
		"a member":                     {bearer(t, "ada", "o1", "member"), "o1", codes.OK, "", "true ada o1 ROLE_MEMBER"},
		"a member, elsewhere":          {bearer(t, "ada", "o1", "member"), "o2", codes.NotFound, "ORGANIZATION_NOT_FOUND", ""},
		"a member that says otherwise": {spoofed, "o1", codes.OK, "", "true ada o1 ROLE_MEMBER"},
		"and goes elsewhere":           {spoofed, "o2", codes.NotFound, "ORGANIZATION_NOT_FOUND", ""},
		"an admin":                     {bearer(t, "root", "", "admin"), "o2", codes.OK, "", "true root  ROLE_ADMIN"},
		"a device":                     {bearer(t, "d1", "o1", "device"), "o1", codes.PermissionDenied, "ROLE_REQUIRED", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp, err := organizations.GetOrganization(tt.ctx, get(tt.id))
			if status.Code(err) != tt.code || reason(err) != tt.reason || resp.GetOrganization().GetName() != tt.caller {
				t.Errorf("got %v, %v %s", resp, err, reason(err))
			}
		})
	}
	if _, err := organizations.ListOrganizations(bearer(t, "ada", "o1", "member"), &organizationv1.ListOrganizationsRequest{}); reason(err) != "ROLE_REQUIRED" {
		t.Errorf("nobody serves it, and yet the role decides first: %v", err)
	}
}

func TestHealthIsOpenAndReflectionIsNot(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		conn := guarded(t, bridge.Config{Reflection: open}, insecure.NewCredentials())
		if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
		stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}) //nolint:errcheck // Recv has the status
		_, err = stream.Recv()
		if open != (err == nil) || !open && status.Code(err) != codes.Unimplemented {
			t.Errorf("open: %v, got %v", open, err)
		}
	}
}

func TestRateOfEachCaller(t *testing.T) {
	t.Parallel()
	organizations := organizationv1.NewOrganizationServiceClient(guarded(t, bridge.Config{Rate: 0.001, Burst: 3}, insecure.NewCredentials()))
	call := func(ctx context.Context) error { _, err := organizations.GetOrganization(ctx, get("o1")); return err }
	for _, ctx := range []context.Context{bearer(t, "ada", "o1", "member"), bearer(t, "bob", "o1", "member")} {
		for range 3 {
			if err := call(ctx); err != nil {
				t.Fatal(err)
			}
		}
		wantLimited(t, call(ctx))
	}
	if err := call(bearer(t, "ada", "o2", "member")); reason(err) != "ORGANIZATION_NOT_FOUND" {
		t.Errorf("ada of another organization is somebody else: %v", err)
	}
	for range 3 {
		if err := call(t.Context()); reason(err) != "TOKEN_MISSING" {
			t.Errorf("got %v", err)
		}
	}
	wantLimited(t, call(t.Context()))
}

func TestRateOfEachAddress(t *testing.T) {
	t.Parallel()
	conn := serveBridge(t, runtimetest.NATS(t), bridge.Config{Rate: 0.001}, insecure.NewCredentials()) // and no tokens
	organizations := organizationv1.NewOrganizationServiceClient(conn)
	if _, err := organizations.GetOrganization(t.Context(), get("o1")); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	_, err := organizations.GetOrganization(t.Context(), get("o1"))
	wantLimited(t, err)
}

func wantLimited(t *testing.T, err error) {
	t.Helper()
	var wait time.Duration
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			wait = info.RetryDelay.AsDuration()
		}
	}
	if status.Code(err) != codes.ResourceExhausted || reason(err) != "RATE_LIMITED" || wait <= 0 {
		t.Errorf("got %v %s, wait %v", err, reason(err), wait)
	}
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ours, others := runtimetest.NewAuthority(t), runtimetest.NewAuthority(t)
	cert, key := ours.Issue(t, "bridge")
	serverTLS, err := config.GRPC{TLSCert: cert, TLSKey: key, TLSClientCA: ours.CA}.TLS()
	if err != nil {
		t.Fatal(err)
	}
	conn := guarded(t, bridge.Config{TLS: serverTLS}, insecure.NewCredentials())
	addr := conn.Target()
	call := func(creds credentials.TransportCredentials) error {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // only asked
		_, err = organizationv1.NewOrganizationServiceClient(conn).GetOrganization(bearer(t, "ada", "o1", "member"), get("o1"))
		return err
	}
	identity := func(a *runtimetest.Authority, name string) []tls.Certificate {
		pair, err := tls.LoadX509KeyPair(a.Issue(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{pair}
	}
	ca := pool(t, ours.CA)
	if err := call(credentials.NewTLS(&tls.Config{RootCAs: ca, Certificates: identity(ours, "ada")})); err != nil {
		t.Errorf("our client: %v", err)
	}
	for name, creds := range map[string]credentials.TransportCredentials{
		"plaintext":            insecure.NewCredentials(),
		"no certificate":       credentials.NewTLS(&tls.Config{RootCAs: ca}),
		"a stranger's":         credentials.NewTLS(&tls.Config{RootCAs: ca, Certificates: identity(others, "eve")}),
		"an unknown server":    credentials.NewTLS(&tls.Config{RootCAs: pool(t, others.CA), Certificates: identity(ours, "bob")}),
		"an old version's TLS": credentials.NewTLS(&tls.Config{RootCAs: ca, Certificates: identity(ours, "old"), MaxVersion: tls.VersionTLS11}), //nolint:gosec // what must be refused
	} {
		if err := call(creds); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// A certificate that is renewed is used without a restart.
	renewed := runtimetest.NewAuthority(t)
	newCert, newKey := renewed.Issue(t, "bridge")
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		return call(credentials.NewTLS(&tls.Config{RootCAs: pool(t, renewed.CA), Certificates: identity(ours, "ada")}))
	})
	// So is the clients' authority.
	if err := os.Rename(others.CA, ours.CA); err != nil {
		t.Fatal(err)
	}
	if err := call(credentials.NewTLS(&tls.Config{RootCAs: pool(t, renewed.CA), Certificates: identity(others, "eve")})); err != nil {
		t.Errorf("a client of the new authority: %v", err)
	}
	if err := call(credentials.NewTLS(&tls.Config{RootCAs: pool(t, renewed.CA), Certificates: identity(ours, "ada")})); err == nil {
		t.Error("a client of the old authority gets in")
	}
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		t.Fatal(errors.New("no certificate"))
	}
	return p
}
