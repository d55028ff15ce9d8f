package gateway

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "ponix/proto/ponix/gateway/v1"
)

// There is one type as yet: the next one must not get the config of this.
func TestConfigBelongsToItsType(t *testing.T) {
	t.Parallel()
	emqx := &pb.EMQXGatewayConfig{BrokerUrl: "mqtt://h"}
	if err := checkConfig(2, emqx); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
	for _, fits := range []pb.GatewayType{pb.GatewayType_GATEWAY_TYPE_UNSPECIFIED, pb.GatewayType_GATEWAY_TYPE_EMQX} {
		if err := checkConfig(fits, emqx); err != nil {
			t.Errorf("%v: %v", fits, err)
		}
	}
}
