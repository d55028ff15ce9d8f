package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"
)

// service is a function's presence in the micro protocol (NATS ADR-32): its
// endpoints, and the answers to $SRV.PING, INFO and STATS.
//
// It speaks the protocol with micro's own types, but subscribes itself:
// micro.AddService times the callback and not the work, so with a pool behind
// the callback its STATS would show no errors and no time, and it has no place
// for triggers at all.
type service struct {
	conn     *nats.Conn
	identity micro.ServiceIdentity
	about    string
	started  time.Time

	mu        sync.Mutex
	verbs     []*nats.Subscription
	endpoints []endpointSpec
	triggers  []endpointSpec // in STATS only: nobody can send them a request
}

// endpointSpec is a row of STATS, and of INFO.
type endpointSpec struct {
	name, subject, group string
	metadata             map[string]string
	counters             *counters
	pending              func() *uint64 // nil but for a trigger
}

// newService registers a function of that name, without endpoints yet.
func newService(conn *nats.Conn, name, version, description string) *service {
	return &service{
		conn:     conn,
		identity: micro.ServiceIdentity{Name: name, ID: nuid.Next(), Version: version, Metadata: map[string]string{}},
		about:    description,
		started:  time.Now().UTC(),
	}
}

// addEndpoint subscribes handle to the endpoint's subject; instances share its
// requests.
func (s *service) addEndpoint(e endpointSpec, handle nats.MsgHandler) (*nats.Subscription, error) {
	e.group = micro.DefaultQueueGroup
	sub, err := s.conn.QueueSubscribe(e.subject, e.group, handle)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints = append(s.endpoints, e)
	return sub, nil
}

// addTrigger shows a trigger: its stream and consumer in the service's
// metadata, its counters as a row of STATS.
func (s *service) addTrigger(e endpointSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.triggers = append(s.triggers, e)
	maps.Copy(s.identity.Metadata, e.metadata)
}

// listen answers the three verbs, on the subjects for all services, for this
// name and for this instance.
func (s *service) listen() error {
	for verb, answer := range map[micro.Verb]func() any{
		micro.PingVerb:  func() any { return micro.Ping{ServiceIdentity: s.id(), Type: micro.PingResponseType} },
		micro.InfoVerb:  func() any { return s.info() },
		micro.StatsVerb: func() any { return s.stats() },
	} {
		for _, target := range [][2]string{{"", ""}, {s.identity.Name, ""}, {s.identity.Name, s.identity.ID}} {
			subject, err := micro.ControlSubject(verb, target[0], target[1])
			if err != nil {
				return err
			}
			sub, err := s.conn.Subscribe(subject, func(m *nats.Msg) {
				if data, err := json.Marshal(answer()); err == nil {
					m.Respond(data) //nolint:errcheck // nobody is left to tell
				}
			})
			if err != nil {
				return fmt.Errorf("subscribe to %s: %w", subject, err)
			}
			s.verbs = append(s.verbs, sub)
		}
	}
	return nil
}

// close makes the service invisible.
func (s *service) close() {
	for _, sub := range s.verbs {
		sub.Unsubscribe() //nolint:errcheck // the connection may be gone already
	}
}

func (s *service) id() micro.ServiceIdentity {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.identity
	id.Metadata = maps.Clone(id.Metadata)
	return id
}

func (s *service) info() micro.Info {
	info := micro.Info{ServiceIdentity: s.id(), Type: micro.InfoResponseType, Description: s.about, Endpoints: []micro.EndpointInfo{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.endpoints {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{Name: e.name, Subject: e.subject, QueueGroup: e.group, Metadata: e.metadata})
	}
	return info
}

func (s *service) stats() micro.Stats {
	out := micro.Stats{ServiceIdentity: s.id(), Type: micro.StatsResponseType, Started: s.started, Endpoints: []*micro.EndpointStats{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range slices.Concat(s.endpoints, s.triggers) {
		out.Endpoints = append(out.Endpoints, e.stats())
	}
	return out
}

// Data is what STATS carries beyond micro's own fields.
type Data struct {
	InFlight    int64 `json:"in_flight"`
	Retried     int64 `json:"retried,omitempty"`      // messages given back for redelivery
	DeadLetters int64 `json:"dead_letters,omitempty"` // messages given up

	// What a trigger's consumer has not settled, for all of its instances, as it was a
	// second ago; nil for all else, and until it is known.
	Pending *uint64 `json:"pending,omitempty"`

	Gauges map[string]float64 `json:"gauges,omitempty"` // what a source tells of itself; see [Instance.Gauge]
}

func (e endpointSpec) stats() *micro.EndpointStats {
	n := e.counters
	out := &micro.EndpointStats{
		Name: e.name, Subject: e.subject, QueueGroup: e.group,
		NumRequests:    int(n.requests.Load()),
		NumErrors:      int(n.failures.Load()),
		ProcessingTime: time.Duration(n.nanoseconds.Load()),
	}
	if out.NumRequests > 0 {
		out.AverageProcessingTime = out.ProcessingTime / time.Duration(out.NumRequests)
	}
	if last := n.lastError.Load(); last != nil {
		out.LastError = *last
	}
	data := Data{InFlight: n.inFlight.Load(), Retried: n.retried.Load(), DeadLetters: n.deadLetters.Load(), Gauges: n.readGauges()}
	if e.pending != nil {
		data.Pending = e.pending()
	}
	out.Data, _ = json.Marshal(data)
	return out
}
