package gateway

import (
	"testing"

	pb "ponix/proto/ponix/gateway/v1"
)

// There is one type as yet: the next one must not get the config of this.
func TestConfigBelongsToItsType(t *testing.T) {
	t.Parallel()
	emqx := &pb.EMQXGatewayConfig{BrokerUrl: "mqtt://h"}
	if bad := checkConfig(2, emqx); len(bad) != 1 || bad[0].Field != "type" {
		t.Errorf("got %v", bad)
	}
	for _, fits := range []pb.GatewayType{pb.GatewayType_GATEWAY_TYPE_UNSPECIFIED, pb.GatewayType_GATEWAY_TYPE_EMQX} {
		if bad := checkConfig(fits, emqx); bad != nil {
			t.Errorf("%v: %v", fits, bad)
		}
	}
}
