package bridge

import (
	"context"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime/wire"
)

// Requests of more than large bytes wait for each other, so that onTheirWay of them are
// on NATS at a time, and inHand with those that wait: a server closes the connection of an
// instance that has more than 64 MiB to read (max_pending), and what it has in hand goes
// with it. Smaller requests pass by.
const (
	large      = 16 << 10
	onTheirWay = 16 << 20
	inHand     = 512 << 20
)

// room is what is left of these bytes.
type room struct{ onTheirWay, inHand *semaphore.Weighted }

func newRoom(inHand int64) room {
	return room{semaphore.NewWeighted(onTheirWay), semaphore.NewWeighted(inHand)}
}

// enter waits until a request may go on its way, and leave is to be called when it is
// answered. One that would have to wait behind too many is refused.
func (r room) enter(ctx context.Context, request frame) (leave func(), err error) {
	if len(request) <= large {
		return func() {}, nil
	}
	n := int64(min(len(request), onTheirWay))
	if !r.inHand.TryAcquire(n) {
		return nil, wire.Error(codes.ResourceExhausted, "AT_CAPACITY", "the bridge is at capacity: large requests wait already, try again")
	}
	if err := r.onTheirWay.Acquire(ctx, n); err != nil {
		r.inHand.Release(n)
		return nil, status.Error(status.FromContextError(err).Code(), "the request is large, and had no turn in its time: large ones wait for each other")
	}
	return func() { r.onTheirWay.Release(n); r.inHand.Release(n) }, nil
}
