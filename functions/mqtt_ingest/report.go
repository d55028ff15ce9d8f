package mqttingest

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// refusedEvery is how often a gateway's messages that are not taken are logged.
const refusedEvery = time.Minute

// report writes what sessions tell of themselves, as far as it has changed.
func (o *owner) report() {
	slow := time.Since(o.counted) >= countEvery
	if slow {
		o.counted = time.Now()
	}
	written, connected := 0, 0
	for id, s := range o.sessions {
		o.tell(s)
		if s.status.isConnected() {
			connected++
		}
		if !s.status.due(slow) || written >= reportsATick || s.stopping && !o.giving[id] && o.ctx.Err() == nil {
			continue
		}
		written++
		if !o.write(id, s) {
			break
		}
	}
	at := runtime.InstanceOf(o.ctx)
	at.Gauge("gateways", float64(len(o.sessions)))
	at.Gauge("connected", float64(connected))
	at.Gauge("refused", float64(o.refused))
}

// write puts a session's status into its gateway's state. It is tried again where
// somebody else has written meanwhile. False means that nothing can be written.
func (o *owner) write(id string, s *session) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.ctx), askTimeout)
	defer cancel()
	known, there := o.view.state(id)
	if !there {
		return true
	}
	state := proto.CloneOf(known.state)
	s.status.report(state, o.me)
	if s.stopping {
		state.Owner, state.Connection = "", pb.ConnectionStatus_CONNECTION_STATUS_STOPPED
	}
	data, err := proto.Marshal(state)
	if err != nil {
		o.complain("report", id, err)
		return true
	}
	revision, err := o.states.Update(ctx, id, data, known.revision)
	if err == nil {
		o.view.reported(id, state, revision)
		return true
	}
	s.status.again()
	if streams.Overtaken(err) {
		return true
	}
	o.complain("report", id, err)
	return false
}

// told is what was said of a session already.
type told struct {
	stored, refused uint64
	logged          [rejections]uint64
	at              time.Time // of the line in the log
}

// tell counts what a session has done, and logs what it had to refuse.
func (o *owner) tell(s *session) {
	if s == nil {
		return
	}
	_, stored, refused := s.status.counts()
	runtime.InstanceOf(o.ctx).Handled(int(stored - s.told.stored))
	s.told.stored = stored
	var total uint64
	for _, n := range refused {
		total += n
	}
	o.refused += total - s.told.refused
	s.told.refused = total
	if refused == s.told.logged || time.Since(s.told.at) < refusedEvery {
		return
	}
	before := s.told.logged
	o.log.Warn("messages of a gateway are not taken", "gateway", s.gateway.GatewayId,
		"bad_topic", refused[badTopic]-before[badTopic], "other_organization", refused[otherOrganization]-before[otherOrganization],
		"too_large", refused[tooLarge]-before[tooLarge], "max_payload", maxPayload,
		"too_large_for_nats", refused[tooLargeForNATS]-before[tooLargeForNATS])
	s.told.logged, s.told.at = refused, time.Now()
}
