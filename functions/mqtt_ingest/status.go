package mqttingest

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/wire"
)

// status is what a session tells of itself.
type status struct {
	mu         sync.Mutex
	connection pb.ConnectionStatus
	lastError  string
	lastAt     time.Time // of a message
	messages   uint64    // received
	accepted   uint64    // of them, those that are stored
	refused    [rejections]uint64
	trouble    bool // lastError is about JetStream
	urgent     bool // to be reported soon
	changed    bool // to be reported
}

func (s *status) set(c pb.ConnectionStatus, lastError string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connection, s.lastError, s.urgent, s.trouble = c, shorten(lastError), true, false
}

func (s *status) connecting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection != pb.ConnectionStatus_CONNECTION_STATUS_DISCONNECTED { // which says more
		s.connection, s.urgent = pb.ConnectionStatus_CONNECTION_STATUS_CONNECTING, true
	}
}

func (s *status) connected() { s.set(pb.ConnectionStatus_CONNECTION_STATUS_CONNECTED, "") }

func (s *status) disconnected(why string) {
	s.set(pb.ConnectionStatus_CONNECTION_STATUS_DISCONNECTED, why)
}

func (s *status) stopped() { s.set(pb.ConnectionStatus_CONNECTION_STATUS_STOPPED, "") }

func (s *status) received(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages++
	s.lastAt, s.changed = at, true
}

func (s *status) stored() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	if s.trouble {
		s.lastError, s.trouble, s.urgent = "", false, true
	}
}

func (s *status) rejected(why rejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[why]++
}

// failed says that messages wait for JetStream.
func (s *status) failed(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why = shorten(why); s.lastError != why {
		s.lastError, s.trouble, s.urgent = why, true, true
	}
}

// counts are what was received, stored and refused so far.
func (s *status) counts() (received, stored uint64, refused [rejections]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages, s.accepted, s.refused
}

// due tells whether there is something to report: at once, or when it is time
// for what changes all the time.
func (s *status) due(slow bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.urgent || s.changed && slow
}

// report fills in the part of a gateway's state that is ours.
func (s *status) report(to *pb.GatewayState, owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to.Owner, to.Connection, to.LastError = owner, s.connection, s.lastError
	to.MessagesReceived, to.ObservedAt = s.messages, timestamppb.Now()
	if !s.lastAt.IsZero() {
		to.LastMessageAt = timestamppb.New(s.lastAt)
	}
	s.urgent, s.changed = false, false
}

// again says that the report did not get through.
func (s *status) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urgent = true
}

// shorten makes a text of somebody else fit for a state.
func shorten(text string) string { return wire.Shorten(text, 300) }

func (s *status) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connection == pb.ConnectionStatus_CONNECTION_STATUS_CONNECTED
}
