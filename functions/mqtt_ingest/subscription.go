package mqttingest

import (
	"context"
	"errors"
)

// everything is what a gateway subscribes to: all topics but those of the broker
// itself ($SYS). Brokers that refuse # alone allow it.
const everything = "+/#"

// narrow is what a gateway subscribes to where the broker does not allow that, or has hung
// up when it was asked for it (deny_action = disconnect of EMQX).
func (s *session) narrow() string { return s.gateway.OrganizationId + "/#" }

// prepare lets messages in and subscribes, unless what the broker has kept is subscribed to.
func (s *session) prepare(ctx context.Context, l *link, resumed bool) error {
	if err := s.ids.begin(ctx, resumed); err != nil {
		return err
	}
	close(l.ready)
	go l.acknowledge()
	kept := s.ids.subscribed()
	if kept != everything && kept != s.narrow() { // but that of another organization
		kept = ""
	}
	if kept != "" && !s.doubts {
		return nil
	}
	filter, err := s.subscribe(ctx, l, kept)
	if err != nil && l.gone() {
		s.hungUp = filter == everything
		return l.err
	}
	if errors.Is(err, errRefused) && kept != "" { // or the next owner would rely on it
		err = errors.Join(err, s.ids.subscribe(ctx, ""))
	}
	if err != nil {
		return err
	}
	s.doubts = false
	return s.ids.subscribe(ctx, filter)
}

// subscribe asks for everything or, where the broker does not allow that, for the topics of
// the organization. It does not ask for both: there are brokers that send a message once for
// each filter.
func (s *session) subscribe(ctx context.Context, l *link, kept string) (filter string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-l.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	if !s.hungUp && kept != s.narrow() {
		if err = l.subscribe(ctx, everything); !errors.Is(err, errRefused) {
			return everything, err
		}
	}
	if s.hungUp { // it may have granted that first
		if err = l.unsubscribe(ctx, everything); err != nil {
			return s.narrow(), err
		}
	}
	return s.narrow(), l.subscribe(ctx, s.narrow())
}

// unsubscribed notes that the broker will have no subscription any more: should the
// gateway come back to it, a session that is there in MQTT 3.1.1 brings nothing.
func (s *session) unsubscribed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	return s.ids.subscribe(ctx, "") == nil
}
