package bridge

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestRoom has one request on its way, one that waits in vain, and one too many.
func TestRoom(t *testing.T) {
	t.Parallel()
	r := newRoom(2 * onTheirWay)
	full := make(frame, onTheirWay+1) // larger than all the room: it goes alone
	leave, err := r.enter(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.enter(ctx, full); status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "wait for each other") {
		t.Errorf("one that waits in vain: %v", err)
	}
	if !r.inHand.TryAcquire(onTheirWay) { // as one that waits has
		t.Fatal("the one that waited in vain still has its room")
	}
	if _, err := r.enter(t.Context(), full); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	if leave, err := r.enter(t.Context(), full[:large]); err != nil {
		t.Errorf("a small one: %v", err)
	} else {
		leave()
	}
	r.inHand.Release(onTheirWay)
	leave()
	if leave, err = r.enter(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	leave()
	if !r.inHand.TryAcquire(2*onTheirWay) || !r.onTheirWay.TryAcquire(onTheirWay) {
		t.Error("something is still in hand")
	}
}
