package mqttingest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// window is how many messages of a gateway may be under way to JetStream.
const window = 256

// receiveMaximum is how many messages a broker may send in MQTT 5 beyond what was
// acknowledged. It is far above the window, which is what bounds us: there are
// brokers that lose count where a receive maximum is in force for long. But
// paho.golang keeps 8 bytes for each, whether they come or not.
const receiveMaximum = 2048

// outstanding is how many messages a broker may have sent at most that are not
// acknowledged: more than in MQTT 5, since it is its own affair in 3.1.1.
const outstanding = 8192

// link is one connection to a broker, in either version of MQTT.
type link struct {
	mqtt
	held  budget
	queue chan *delivery // in the order of arrival
	ready chan struct{}  // closed when messages may be handled
	done  chan struct{}  // closed when the connection is gone
	once  sync.Once
	err   error // why; valid when done is closed

	draining atomic.Bool // what comes is left to the next connection
}

// mqtt is what differs between the versions.
type mqtt interface {
	// subscribe asks for the messages of a filter. A refusal is an errRefused.
	subscribe(ctx context.Context, filter string) error
	// unsubscribe takes that back, also where there is nothing to take back.
	unsubscribe(ctx context.Context, filter string) error
	// close ends the connection. To forget ends the broker's session as well,
	// with what waits in it.
	close(forget bool)
}

// errRefused is a subscription that the broker does not grant.
var errRefused = errors.New("the broker does not allow the subscription")

// delivery is a message under way to JetStream.
type delivery struct {
	stored chan struct{} // closed when it is there, or never will be
	ack    func()        // tells the broker
}

func newLink(sharing *atomic.Int64) *link {
	return &link{held: budget{sharing: sharing}, queue: make(chan *delivery, window), ready: make(chan struct{}), done: make(chan struct{})}
}

// fail ends the link; the first reason counts.
func (l *link) fail(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.done)
	})
}

func (l *link) gone() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// acknowledge tells the broker of deliveries in the order in which they came, as
// MQTT wants it, each when it is stored. It is a goroutine of the link's own: a
// broker that does not read holds up nobody else.
func (l *link) acknowledge() {
	for {
		select {
		case <-l.done:
			return
		case d := <-l.queue:
			select {
			case <-l.done:
				return
			case <-d.stored:
				if l.gone() {
					return
				}
				d.ack()
			}
		}
	}
}

// drain waits until what has come is acknowledged, or too long. What comes
// meanwhile is left to the next connection.
func (l *link) drain(within time.Duration) {
	l.draining.Store(true)
	timeout := time.After(within)
	sent := make(chan struct{})
	last := &delivery{stored: make(chan struct{}), ack: func() { close(sent) }}
	close(last.stored)
	select {
	case l.queue <- last:
	case <-l.done:
		return
	case <-timeout:
		return
	}
	select {
	case <-sent:
	case <-l.done:
	case <-timeout:
	}
}
