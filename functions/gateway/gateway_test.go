package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ponix/functions/gateway"
	"ponix/functions/internal/functiontest"
	"ponix/functions/internal/page"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
)

const broker = "mqtts://user:p%40ss@broker.example:8883"

func start(t *testing.T) (*functiontest.Env, pb.GatewayServiceClient) {
	t.Helper()
	e := functiontest.Start(t, func(db *pgxpool.Pool) []runtime.Function { return []runtime.Function{gateway.New(db)} })
	return e, pb.NewGatewayServiceClient(e)
}

func request(org, url string) *pb.CreateGatewayRequest {
	return &pb.CreateGatewayRequest{
		OrganizationId: org, Name: " roof ", Type: pb.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &pb.CreateGatewayRequest_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: url}},
	}
}

func create(t *testing.T, c pb.GatewayServiceClient, org string) *pb.Gateway {
	t.Helper()
	resp, err := c.CreateGateway(t.Context(), request(org, broker))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Gateway
}

func get(t *testing.T, c pb.GatewayServiceClient, id string) *pb.Gateway {
	t.Helper()
	resp, err := c.GetGateway(t.Context(), &pb.GetGatewayRequest{GatewayId: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Gateway
}

func TestLife(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org, other := e.Organization(t), e.Organization(t)
	g := create(t, c, org)
	if len(g.GatewayId) != 20 || g.OrganizationId != org || g.Name != "roof" || g.Status != pb.GatewayStatus_GATEWAY_STATUS_ACTIVE ||
		g.Type != pb.GatewayType_GATEWAY_TYPE_EMQX || g.GetEmqxConfig().GetBrokerUrl() != broker || g.DeletedAt != nil || !g.UpdatedAt.AsTime().Equal(g.CreatedAt.AsTime()) {
		t.Fatalf("made %v", g)
	}
	if got := get(t, c, g.GatewayId); !proto.Equal(got, g) {
		t.Fatalf("made %v, got %v", g, got)
	}
	_, err := c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: g.GatewayId, OrganizationId: other})
	functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
	get(t, c, g.GatewayId)
	if _, err := c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: g.GatewayId, OrganizationId: org}); err != nil {
		t.Fatal(err)
	}
	wantNotFound(t, c, g.GatewayId)
	var same bool
	if err := e.DB.QueryRow(t.Context(), "SELECT deleted_at = updated_at AND deleted_at > created_at FROM gateways WHERE id = $1", g.GatewayId).Scan(&same); err != nil || !same {
		t.Errorf("the row is gone or has other times: %v", err)
	}
	g = create(t, c, org)
	if _, err := c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: g.GatewayId}); err != nil {
		t.Errorf("without its organization: %v", err)
	}
	wantNotFound(t, c, "nobody")
}

func wantNotFound(t *testing.T, c pb.GatewayServiceClient, id string) {
	t.Helper()
	_, err := c.GetGateway(t.Context(), &pb.GetGatewayRequest{GatewayId: id})
	functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
	_, err = c.UpdateGateway(t.Context(), &pb.UpdateGatewayRequest{GatewayId: id, Name: "x"})
	functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
	_, err = c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: id})
	functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
}

func TestUpdateLeavesWhatIsAbsent(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	was := create(t, c, e.Organization(t))
	for _, req := range []*pb.UpdateGatewayRequest{
		{},
		{Name: " cellar "},
		{Status: pb.GatewayStatus_GATEWAY_STATUS_ERROR},
		{Type: pb.GatewayType_GATEWAY_TYPE_EMQX},
		{Config: &pb.UpdateGatewayRequest_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: "ws://[::1]:8083/mqtt"}}},
		{Name: "attic", Status: pb.GatewayStatus_GATEWAY_STATUS_PENDING, Type: pb.GatewayType_GATEWAY_TYPE_EMQX, Config: &pb.UpdateGatewayRequest_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: broker}}},
	} {
		want := proto.CloneOf(was)
		if req.Name != "" {
			want.Name = strings.TrimSpace(req.Name)
		}
		if req.Status != 0 {
			want.Status = req.Status
		}
		if req.Config != nil {
			want.Config = &pb.Gateway_EmqxConfig{EmqxConfig: req.GetEmqxConfig()}
		}
		req.GatewayId = was.GatewayId
		resp, err := c.UpdateGateway(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.Gateway
		if !got.UpdatedAt.AsTime().After(was.UpdatedAt.AsTime()) {
			t.Errorf("updated at %v, and before that at %v", got.UpdatedAt.AsTime(), was.UpdatedAt.AsTime())
		}
		want.UpdatedAt = got.UpdatedAt
		if !proto.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", req, got, want)
		}
		if stored := get(t, c, was.GatewayId); !proto.Equal(stored, got) {
			t.Errorf("stored %v, returned %v", stored, got)
		}
		was = got
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	_, err := c.CreateGateway(t.Context(), &pb.CreateGatewayRequest{Name: " "})
	functiontest.WantInvalid(t, err, "organization_id", "name", "type", "config")
	for _, want := range []string{"type: must be GATEWAY_TYPE_EMQX", "config: must be set: emqx_config"} {
		if text := status.Convert(err).Message(); !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	req := request(org, broker)
	req.Type = 7
	_, err = c.CreateGateway(t.Context(), req)
	functiontest.WantInvalid(t, err, "type")
	g := create(t, c, org)
	for _, bad := range []string{"", "broker.example", "http://broker.example", "mqtt://", "mqtt://:1883", "mqtt://user:secret@", "mqtt://user:se%cret@host", "mqtt://a b", "mqtt://host\x00", "mqtt://host:port", "mqtt://host:99999", "mqtt://host:0"} {
		_, err := c.CreateGateway(t.Context(), request(org, bad))
		functiontest.WantInvalid(t, err, "emqx_config.broker_url")
		if strings.Contains(status.Convert(err).Message(), "cret") {
			t.Errorf("the password is in the message: %v", err)
		}
		_, err = c.UpdateGateway(t.Context(), &pb.UpdateGatewayRequest{GatewayId: g.GatewayId, Config: &pb.UpdateGatewayRequest_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: bad}}})
		functiontest.WantInvalid(t, err, "emqx_config.broker_url")
	}
	_, err = c.UpdateGateway(t.Context(), &pb.UpdateGatewayRequest{GatewayId: g.GatewayId, Name: " ", Status: 9, Type: 9})
	functiontest.WantInvalid(t, err, "name", "status", "type")
	_, err = c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: "", OrganizationId: "no id"})
	functiontest.WantInvalid(t, err, "gateway_id", "organization_id")
	if got := get(t, c, g.GatewayId); !proto.Equal(got, g) {
		t.Errorf("a refused update left %v", got)
	}
}

func TestBrokerURLs(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	for _, good := range []string{"mqtt://localhost", "tcp://10.0.0.1:1883", "ssl://h:8883", "mqtts://h", "ws://h/mqtt", "wss://u:p@h:443/mqtt?x=1", "mqtt://[fe80::1]:1883"} {
		resp, err := c.CreateGateway(t.Context(), request(org, good))
		if err != nil || resp.Gateway.GetEmqxConfig().GetBrokerUrl() != good {
			t.Errorf("%s: %v, %v", good, resp, err)
		}
	}
}

func TestOrganizationIsDeleted(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	g := create(t, c, org)
	e.DeleteOrganization(t, org)
	for _, id := range []string{org, "nobody"} {
		_, err := c.CreateGateway(t.Context(), request(id, broker))
		functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
		_, err = c.ListGateways(t.Context(), &pb.ListGatewaysRequest{OrganizationId: id})
		functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
	}
	if got := get(t, c, g.GatewayId); !proto.Equal(got, g) {
		t.Errorf("got %v", got)
	}
	_, err := c.UpdateGateway(t.Context(), &pb.UpdateGatewayRequest{GatewayId: g.GatewayId, Name: "x"})
	functiontest.WantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
	if _, err := c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: g.GatewayId}); err != nil {
		t.Error(err)
	}
}

// A gateway is not created in an organization whose deletion is under way.
func TestCreateWaitsForADeletion(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	for _, deletes := range []bool{true, false} {
		org := e.Organization(t)
		functiontest.DuringDeletion(t, e, org, deletes, func() error {
			_, err := c.CreateGateway(t.Context(), request(org, broker))
			return err
		})
	}
}

func list(t *testing.T, c pb.GatewayServiceClient, org string) functiontest.List {
	return func(size int32, token string) (ids []string, next string, err error) {
		resp, err := c.ListGateways(t.Context(), &pb.ListGatewaysRequest{OrganizationId: org, PageSize: size, PageToken: token})
		for _, g := range resp.GetGateways() {
			ids = append(ids, g.GatewayId)
		}
		return ids, resp.GetNextPageToken(), err
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org, other := e.Organization(t), e.Organization(t)
	create(t, c, other)
	if _, err := c.DeleteGateway(t.Context(), &pb.DeleteGatewayRequest{GatewayId: create(t, c, org).GatewayId}); err != nil {
		t.Fatal(err)
	}
	foreign := page.Token(pb.GatewayService_ListGateways_FullMethodName+"\x00"+other, page.Key{Time: time.Now(), ID: "x"})
	functiontest.Pages(t, list(t, c, org), func() string {
		id := create(t, c, org).GatewayId
		if _, err := c.UpdateGateway(t.Context(), &pb.UpdateGatewayRequest{GatewayId: id}); err != nil { // which moves nothing
			t.Fatal(err)
		}
		return id
	}, foreign)
}

func TestListSizes(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	e.Exec(t, `INSERT INTO gateways (id, organization_id, name, status, type, config)
		SELECT 'g' || n, $1, 'roof', 'GATEWAY_STATUS_ACTIVE', 'GATEWAY_TYPE_EMQX', '{"broker_url": "mqtt://h"}' FROM generate_series(1, 1002) AS n`, org)
	functiontest.Sizes(t, list(t, c, org))
}

func TestByHand(t *testing.T) {
	t.Parallel()
	e, _ := start(t)
	reply, err := e.NATS.Request(wire.Subject(pb.GatewayService_CreateGateway_FullMethodName),
		[]byte(`{"organization_id":"`+e.Organization(t)+`","name":"roof","type":"GATEWAY_TYPE_EMQX","emqx_config":{"broker_url":"mqtt://h"}}`), 10*time.Second)
	if err != nil || !strings.Contains(string(reply.Data), `mqtt://h`) || reply.Header.Get("Nats-Service-Error-Code") != "" {
		t.Fatalf("got %v %s, %v", reply.Header, reply.Data, err)
	}
}

// TestEveryBadField holds that each bad field is told at once, and once, by whatever it
// is found.
func TestEveryBadField(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	for _, url := range []string{"mqtt://h:99999", "http://h:99999", "mqtt://u:%zz@h"} {
		req := request("no id", url)
		req.Name, req.Type = " ", 7
		_, err := c.CreateGateway(t.Context(), req)
		functiontest.WantInvalid(t, err, "organization_id", "name", "type", "emqx_config.broker_url")
		g := create(t, c, e.Organization(t))
		_, err = c.UpdateGateway(t.Context(), &pb.UpdateGatewayRequest{GatewayId: g.GatewayId, Name: " ", Config: &pb.UpdateGatewayRequest_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: url}}})
		functiontest.WantInvalid(t, err, "name", "emqx_config.broker_url")
	}
}
