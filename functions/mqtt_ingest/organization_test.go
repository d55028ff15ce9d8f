package mqttingest_test

import (
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "ponix/proto/ponix/gateway/v1"
)

// narrow is a broker's hook that lets nobody subscribe to everything.
type narrow struct{ auth.AllowHook }

func (*narrow) OnACLCheck(_ *mochi.Client, topic string, write bool) bool {
	return write || topic != "+/#"
}

// TestGatewayOfAnotherOrganization gives a gateway to another organization while nobody
// runs it: its session at the broker is subscribed to the first one's messages only.
func TestGatewayOfAnotherOrganization(t *testing.T) {
	t.Parallel()
	e := start(t)
	h := e.instance(t)
	b := broker(t, "", new(narrow))
	device := publisher(t, b.url)
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	done(t, device.Publish("acme/thermometer", 1, false, "20.5"))
	e.stored(t, 20*time.Second, 1)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(&pb.Gateway{
		GatewayId: "g1", OrganizationId: "other", Type: pb.GatewayType_GATEWAY_TYPE_EMQX, CreatedAt: timestamppb.Now(),
		Config: &pb.Gateway_EmqxConfig{EmqxConfig: &pb.EMQXGatewayConfig{BrokerUrl: b.url}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.Publish(t.Context(), "gateways.update", data); err != nil {
		t.Fatal(err)
	}
	e.instance(t)
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return connected(s) && s.Gateway.OrganizationId == "other" })
	done(t, device.Publish("other/thermometer", 1, false, "20.5"))
	e.stored(t, 20*time.Second, 2)
}
