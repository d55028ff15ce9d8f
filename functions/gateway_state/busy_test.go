package gatewaystate_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "ponix/proto/ponix/gateway/v1"
)

// TestListIsWholeWhileStatesChange has instances of mqtt-ingest report on their gateways
// while somebody lists them: each gateway is there, and once.
func TestListIsWholeWhileStatesChange(t *testing.T) {
	t.Parallel()
	e := start(t)
	const gateways = 300
	write := func(i int) error {
		state := &pb.GatewayState{Gateway: gateway(fmt.Sprint("g", i), i), ObservedAt: timestamppb.Now()}
		data, err := proto.Marshal(state)
		if err == nil {
			_, err = e.states.Put(t.Context(), state.Gateway.GatewayId, data)
		}
		return err
	}
	for i := range gateways {
		if err := write(i); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var reports sync.WaitGroup
	reports.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := write(n * 7 % gateways); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer reports.Wait()
	defer close(stop)
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		resp, err := e.ListGatewayStates(t.Context(), &pb.ListGatewayStatesRequest{OrganizationId: "acme", PageSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		times := map[string]int{}
		for _, s := range resp.States {
			times[s.Gateway.GatewayId]++
		}
		if len(times) != gateways || len(resp.States) != gateways {
			t.Fatalf("there are %d gateways, and the list has %d, %d of them different", gateways, len(resp.States), len(times))
		}
	}
}
