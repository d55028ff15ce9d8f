package bridge

import (
	"context"
	"math"
	"net"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"

	"ponix/runtime/wire"
)

// maxCallers is how many callers are remembered, about 200 bytes each. One that
// was forgotten starts afresh.
const maxCallers = 1 << 16

// limits is how many calls each caller may make.
type limits struct {
	rate    rate.Limit // calls a second; 0: any number
	burst   int
	callers *lru.Cache[string, *rate.Limiter]
}

func newLimits(perSecond float64, burst int) (*limits, error) {
	if burst < 1 {
		burst = max(1, int(math.Ceil(perSecond)))
	}
	callers, err := lru.New[string, *rate.Limiter](maxCallers)
	return &limits{rate.Limit(perSecond), burst, callers}, err
}

// callerOf tells callers apart by who they are, and where they are nobody, by where.
func callerOf(ctx context.Context, who wire.Principal) string {
	if p, ok := peer.FromContext(ctx); ok && who.Subject == "" {
		return "at " + place(p.Addr)
	}
	return "is " + who.Organization + "/" + who.Subject
}

// admit counts a call, and refuses one too many with the time to wait.
func (l *limits) admit(ctx context.Context, who wire.Principal) error {
	if l.rate <= 0 {
		return nil
	}
	caller := callerOf(ctx, who)
	fresh := rate.NewLimiter(l.rate, l.burst)
	limiter, known, _ := l.callers.PeekOrAdd(caller, fresh)
	if known {
		l.callers.Get(caller) // the latest use counts
	} else {
		limiter = fresh
	}
	if limiter.Allow() {
		return nil
	}
	wait := max(0, time.Duration((1-limiter.Tokens())/float64(l.rate)*float64(time.Second)))
	return wire.Error(codes.ResourceExhausted, "RATE_LIMITED", "the caller makes more calls than it may: try again in "+wait.Round(time.Millisecond).String(),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
}

// place is where a caller without a name is: its address, or the network of an
// IPv6 host, which has as many addresses as it likes.
func place(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip := ap.Addr() // net writes IPv4 in IPv6 as IPv4
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
