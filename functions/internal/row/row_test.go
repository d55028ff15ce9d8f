package row_test

import (
	"testing"

	"ponix/functions/internal/row"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
)

func TestGateway(t *testing.T) {
	t.Parallel()
	g := &gatewayv1.Gateway{}
	if err := row.Gateway(g, "GATEWAY_STATUS_ERROR", "GATEWAY_TYPE_EMQX", `{"broker_url": "mqtt://h", "of_a_newer_version": 1}`); err != nil {
		t.Fatal(err)
	}
	if g.Status != gatewayv1.GatewayStatus_GATEWAY_STATUS_ERROR || g.Type != gatewayv1.GatewayType_GATEWAY_TYPE_EMQX || g.GetEmqxConfig().GetBrokerUrl() != "mqtt://h" {
		t.Errorf("got %v", g)
	}
	// There is one type as yet: the next one must not get the config of this.
	if err := row.Gateway(g, "GATEWAY_STATUS_ERROR", "GATEWAY_TYPE_OTHER", "{}"); err == nil {
		t.Error("a type without a config was read")
	}
}
