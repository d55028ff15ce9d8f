package gatewaystate

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/broker"
	"ponix/functions/internal/page"
	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

func (f *states) get(ctx context.Context, req *pb.GetGatewayStateRequest) (*pb.GetGatewayStateResponse, error) {
	kv, _, err := f.gateways.open(ctx)
	if err != nil {
		return nil, err
	}
	state, _, err := value(ctx, kv, req.GatewayId)
	tenant := runtime.Tenant(ctx)
	if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && tenant != "" && state.Gateway.GetOrganizationId() != tenant {
		return nil, runtime.Error(codes.NotFound, "GATEWAY_NOT_FOUND", "gateway %q does not exist", req.GatewayId)
	}
	if err != nil {
		return nil, unavailable(f.gateways.lost(err))
	}
	leases, _, err := f.leases.open(ctx)
	if err != nil {
		return nil, err
	}
	alive := state.Owner != ""
	if alive {
		_, err = leases.Get(ctx, streams.InstanceLease(state.Owner))
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, unavailable(f.leases.lost(err))
		}
		alive = err == nil
	}
	return &pb.GetGatewayStateResponse{State: present(state, alive)}, nil
}

func (f *states) list(ctx context.Context, req *pb.ListGatewayStatesRequest) (*pb.ListGatewayStatesResponse, error) {
	scope := page.Scope(pb.GatewayStateService_ListGatewayStates_FullMethodName, req.OrganizationId)
	after, err := page.Parse(scope, req.PageToken)
	if err != nil {
		return nil, err
	}
	alive := map[string]bool{}
	if err := f.leases.each(ctx, streams.InstanceLease("*"), func(e jetstream.KeyValueEntry) error {
		alive[e.Key()] = true
		return nil
	}); err != nil {
		return nil, err
	}
	var found []*pb.GatewayState
	if err := f.gateways.each(ctx, ">", func(e jetstream.KeyValueEntry) error {
		state := &pb.GatewayState{}
		if proto.Unmarshal(e.Value(), state) != nil { // nobody's, until its next event
			return nil
		}
		if state.Gateway.GetOrganizationId() == req.OrganizationId && (req.PageToken == "" || newestFirst(key(state), after) > 0) {
			found = append(found, present(state, alive[streams.InstanceLease(state.Owner)]))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *pb.GatewayState) int { return newestFirst(key(a), key(b)) })
	size := page.Size(req.PageSize)
	states, next := page.Cut(found[:min(len(found), size+1)], size, scope, key)
	return &pb.ListGatewayStatesResponse{States: states, NextPageToken: next}, nil
}

func key(s *pb.GatewayState) page.Key {
	return page.Key{Time: s.Gateway.CreatedAt.AsTime(), ID: s.Gateway.GatewayId}
}

// newestFirst is the order of a list.
func newestFirst(a, b page.Key) int {
	return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.ID, a.ID))
}

// present is what callers see: no owner that is gone, no password, and not where
// the gateway is from.
func present(s *pb.GatewayState, alive bool) *pb.GatewayState {
	s.ProtoReflect().SetUnknown(nil)
	if s.Owner != "" && !alive {
		s.Owner, s.Connection = "", pb.ConnectionStatus_CONNECTION_STATUS_DISCONNECTED
	}
	if c := s.Gateway.GetEmqxConfig(); c != nil {
		c.BrokerUrl = broker.Redact(c.BrokerUrl)
	}
	return s
}

// each calls f with what the bucket holds below a pattern of keys, each key once.
func (b *bucket) each(ctx context.Context, pattern string, f func(jetstream.KeyValueEntry) error) error {
	kv, stream, err := b.open(ctx)
	if err != nil {
		return err
	}
	all := map[string]jetstream.KeyValueEntry{}
	w, err := streams.Watch(ctx, stream, kv, pattern, func(e jetstream.KeyValueEntry) {
		delete(all, e.Key())
		if e.Operation() == jetstream.KeyValuePut {
			all[e.Key()] = e
		}
	})
	if ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	if err != nil {
		return unavailable(b.lost(err))
	}
	w.Stop() //nolint:errcheck // it only reads
	for _, e := range all {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func unavailable(err error) error {
	return runtime.Error(codes.Unavailable, "BUCKET_UNAVAILABLE", "the gateways' states cannot be read now: %v", err)
}
