package mqttingest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
)

// view is what an instance knows of the buckets, as their watches tell it.
type view struct {
	mu        sync.Mutex
	instances map[string]string // those whose lease is alive → when they joined
	claims    map[string]claim  // by gateway
	gateways  map[string]known
}

// claim says who owns a gateway, if its lease is alive.
type claim struct {
	owner    string // empty: nobody
	revision uint64
}

// known is a gateway's state as it was last seen.
type known struct {
	state    *pb.GatewayState // nil: it is gone
	revision uint64
}

func newView() *view {
	return &view{instances: map[string]string{}, claims: map[string]claim{}, gateways: map[string]known{}}
}

var (
	instancePrefix = streams.InstanceLease("")
	gatewayPrefix  = streams.GatewayLease("")
)

// lease takes an entry of the bucket of leases.
func (v *view) lease(e jetstream.KeyValueEntry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	there := e.Operation() == jetstream.KeyValuePut
	if instance, ok := strings.CutPrefix(e.Key(), instancePrefix); ok {
		if there {
			v.instances[instance] = string(e.Value())
		} else {
			delete(v.instances, instance)
		}
		return
	}
	gateway, ok := strings.CutPrefix(e.Key(), gatewayPrefix)
	switch {
	case !ok || e.Revision() < v.claims[gateway].revision:
	case there:
		v.claims[gateway] = claim{string(e.Value()), e.Revision()}
	default: // gateways come and go
		delete(v.claims, gateway)
	}
}

// claimed takes a claim that we have made or dropped, before the watch shows it.
func (v *view) claimed(gateway string, c claim) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c.revision > v.claims[gateway].revision {
		v.claims[gateway] = c
	}
}

// gateway takes an entry of the bucket of gateways. It tells whether it is more
// than a report on a connection.
func (v *view) gateway(e jetstream.KeyValueEntry) (changed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.gateways[e.Key()]
	if e.Revision() <= old.revision {
		return false, nil
	}
	if e.Operation() != jetstream.KeyValuePut {
		delete(v.gateways, e.Key())
		return true, nil
	}
	state := &pb.GatewayState{}
	if err := proto.Unmarshal(e.Value(), state); err != nil {
		return false, err
	}
	v.gateways[e.Key()] = known{state, e.Revision()}
	return old.state == nil || !proto.Equal(old.state.Gateway, state.Gateway), nil
}

// reported takes a state that we have written, before the watch shows it.
func (v *view) reported(gateway string, state *pb.GatewayState, revision uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old, ok := v.gateways[gateway]; ok && revision > old.revision {
		v.gateways[gateway] = known{state, revision}
	}
}

// state is a gateway's, and whether it is there.
func (v *view) state(gateway string) (known, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.gateways[gateway]
	return k, ok
}

// share is how gateways and instances stand to each other, for one of them.
type share struct {
	quota int      // gateways that the instance should own
	mine  []string // those that it owns, sorted
	free  []string // those that nobody owns who is alive, sorted
	stale []string // those of its own, or of nobody who is alive, that are no gateways any more
}

// share divides the gateways. Every instance has the same quota, but for those
// that joined first where the division does not come out even: the quotas add up
// to the gateways. Nothing moves that does not have to.
func (v *view) share(me string) share {
	v.mu.Lock()
	defer v.mu.Unlock()
	instances := slices.SortedFunc(maps.Keys(v.instances), func(a, b string) int {
		return cmp.Or(cmp.Compare(v.instances[a], v.instances[b]), cmp.Compare(a, b))
	})
	var s share
	rank := slices.Index(instances, me)
	n := len(instances)
	if rank >= 0 {
		s.quota = len(v.gateways) / n
		if rank < len(v.gateways)%n {
			s.quota++
		}
	}
	for g := range v.gateways {
		owner := v.claims[g].owner
		_, alive := v.instances[owner]
		switch {
		case owner == me:
			s.mine = append(s.mine, g)
		case !alive:
			s.free = append(s.free, g)
		}
	}
	for g, c := range v.claims {
		_, is := v.gateways[g]
		if _, alive := v.instances[c.owner]; !is && (c.owner == me || c.owner != "" && !alive) {
			s.stale = append(s.stale, g)
		}
	}
	slices.Sort(s.mine)
	slices.Sort(s.free)
	if rank >= 0 { // so that they do not all want the same one first
		at := rank * len(s.free) / n
		s.free = append(s.free[at:len(s.free):len(s.free)], s.free[:at]...)
	}
	return s
}

// claimOf is who owns a gateway.
func (v *view) claimOf(gateway string) claim {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.claims[gateway]
}
