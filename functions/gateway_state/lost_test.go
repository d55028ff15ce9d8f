package gatewaystate_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/functiontest"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestLostBuckets has somebody delete a bucket that an instance knows: that is an error, and not
// a list without gateways or a gateway without an owner. Then the bucket is there again.
func TestLostBuckets(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	instance(t, srv, config.Default[streams.Config]())
	e := connect(t, srv)
	get := func() (*pb.GatewayState, error) {
		resp, err := e.GetGatewayState(t.Context(), &pb.GetGatewayStateRequest{GatewayId: "g1"})
		return resp.GetState(), err
	}
	list := func() ([]*pb.GatewayState, error) {
		resp, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme"})
		return resp.GetStates(), err
	}
	data, err := proto.Marshal(&pb.GatewayState{Gateway: gateway("g1", 0), Owner: "me"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.states.Put(t.Context(), "g1", data); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		bucket string
		read   func() error
	}{
		{"leases", func() error { _, err := get(); return err }},
		{"leases", func() error { _, err := list(); return err }},
		{"gateways", func() error { _, err := list(); return err }},
	} {
		if err := c.read(); err != nil {
			t.Fatal(err)
		}
		if err := e.js.DeleteKeyValue(t.Context(), c.bucket); err != nil {
			t.Fatal(err)
		}
		functiontest.WantError(t, c.read(), codes.Unavailable, "BUCKET_UNAVAILABLE")
		if err := c.read(); err != nil {
			t.Errorf("%s is not there again: %v", c.bucket, err)
		}
	}
	if states, err := list(); err != nil || len(states) != 0 {
		t.Errorf("got %v, %v", states, err)
	}
}
