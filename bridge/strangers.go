package bridge

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime/wire"
)

// How many calls of health and reflection may be open at a time, of one place and of all.
// They need no token, may last for ever, and keep up to 64 KiB of headers as long.
const (
	callsOfPlace     = 250
	callsOfStrangers = 1000
)

// strangers are those who have such a call open.
type strangers struct {
	mu  sync.Mutex
	at  map[string]int // by place
	all int
}

// enter counts a call until its ctx ends, or refuses it.
func (s *strangers) enter(ctx context.Context) error {
	place := callerOf(ctx, wire.Principal{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[place] >= callsOfPlace || s.all >= callsOfStrangers {
		return status.Error(codes.ResourceExhausted, "too many calls of health and reflection are open")
	}
	s.at[place]++
	s.all++
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.at[place]--; s.at[place] == 0 {
			delete(s.at, place)
		}
	})
	return nil
}
