package bridge

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// from is the context of a call that comes from an address.
func from(ctx context.Context, ip string) context.Context {
	return peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}})
}

// TestRefusedCallsCostNothing has a caller who does not wait, and calls several times at once:
// what is refused does not count.
func TestRefusedCallsCostNothing(t *testing.T) {
	t.Parallel()
	l, err := newLimits(0.001, 1)
	if err != nil {
		t.Fatal(err)
	}
	ada := wire.Principal{Subject: "ada", Organization: "o"}
	if err := l.admit(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10_000 {
				if l.admit(t.Context(), ada) == nil {
					t.Error("it is let in")
				}
			}
		})
	}
	all.Wait()
	for range 10 {
		err := l.admit(t.Context(), ada)
		for _, d := range status.Convert(err).Details() {
			if info, ok := d.(*errdetails.RetryInfo); ok && info.RetryDelay.AsDuration() > 1000*time.Second {
				t.Fatalf("the next call may be in %v", info.RetryDelay.AsDuration())
			}
		}
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("got %v", err)
		}
	}
}

// TestForgottenCallers holds that who calls is remembered, however many others come.
func TestForgottenCallers(t *testing.T) {
	t.Parallel()
	l, err := newLimits(0.001, 1)
	if err != nil {
		t.Fatal(err)
	}
	l.callers.Resize(2)
	for i := range 5 {
		if err := l.admit(t.Context(), wire.Principal{Subject: "ada"}); (err == nil) != (i == 0) {
			t.Errorf("call %d: %v", i, err)
		}
		if err := l.admit(t.Context(), wire.Principal{Subject: fmt.Sprint(i)}); err != nil {
			t.Error(err)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::": "2001:db8:1:2::/64",
	} {
		if got := place(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}); got != want {
			t.Errorf("%s is at %s, want %s", ip, got, want)
		}
	}
	if got := place(&net.UnixAddr{Name: "socket"}); got != "socket" {
		t.Errorf("a socket is at %s", got)
	}
}

// TestArriving has messages in all places, one that has its caller's turn, and one that
// waits for it in vain: nothing is left of them.
func TestArriving(t *testing.T) {
	t.Parallel()
	a := newArriving(8<<20, 1<<20)
	var all []func()
	for range 8 + 1 {
		arrived, err := a.enter(t.Context(), wire.Principal{Subject: "mallory"})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, arrived)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := a.enter(ctx, wire.Principal{Subject: "mallory"}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("one that waits in vain: %v", err)
	}
	if arrived, err := a.enter(t.Context(), wire.Principal{Subject: "ada"}); err != nil {
		t.Errorf("somebody else: %v", err)
	} else {
		arrived()
	}
	for _, arrived := range all {
		arrived()
	}
	if n := a.calls.Load(); n != 0 || len(a.queues) > 0 {
		t.Errorf("%d are still arriving, and %d callers wait", n, len(a.queues))
	}
}

// TestLargestMessages holds that calls arrive also where the largest message takes more than all
// the room there is.
func TestLargestMessages(t *testing.T) {
	t.Parallel()
	arrived, err := newArriving(inHand, 2*inHand).enter(t.Context(), wire.Principal{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	arrived()
}

// TestStrangers fills up what there is for strangers of all places.
func TestStrangers(t *testing.T) {
	t.Parallel()
	s := &strangers{at: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range callsOfStrangers {
		if err := s.enter(from(ctx, fmt.Sprintf("192.0.2.%d", i%(callsOfStrangers/callsOfPlace)))); err != nil {
			t.Fatal(err)
		}
	}
	late := from(t.Context(), "192.0.2.99")
	if err := s.enter(late); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.all > 0 || len(s.at) > 0 {
			return fmt.Errorf("%d are there, of %d places", s.all, len(s.at))
		}
		return nil
	})
	if err := s.enter(late); err != nil {
		t.Error(err)
	}
}
