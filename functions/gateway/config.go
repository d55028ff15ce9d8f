package gateway

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"

	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// checkConfig holds a gateway's config, nil for none, to its type, UNSPECIFIED
// for any.
func checkConfig(t pb.GatewayType, emqx *pb.EMQXGatewayConfig) []*runtime.Violation {
	if emqx == nil {
		return nil
	}
	var bad []*runtime.Violation
	if t != pb.GatewayType_GATEWAY_TYPE_UNSPECIFIED && t != pb.GatewayType_GATEWAY_TYPE_EMQX {
		bad = append(bad, &runtime.Violation{Field: "type", Description: fmt.Sprintf("is %v, and emqx_config is that of GATEWAY_TYPE_EMQX", t)})
	}
	// The rules of the .proto have seen to the scheme. An error of url.Parse would
	// show the password.
	if u, err := url.Parse(emqx.BrokerUrl); err != nil || u.Hostname() == "" {
		bad = append(bad, &runtime.Violation{Field: "emqx_config.broker_url", Description: "must be a URL with a host; escape what is special in user and password"})
	} else if n, err := strconv.ParseUint(cmp.Or(u.Port(), "1"), 10, 16); err != nil || n == 0 {
		bad = append(bad, &runtime.Violation{Field: "emqx_config.broker_url", Description: "has the port " + u.Port() + ": there are 1 to 65535"})
	}
	return bad
}

// encodeConfig is the column's value: nil where there is no config.
func encodeConfig(emqx *pb.EMQXGatewayConfig) (*string, error) {
	if emqx == nil {
		return nil, nil
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(emqx)
	return new(string(b)), err
}
