package local

import (
	"log/slog"
	"net"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// farewell is how long all clients have to read that the broker ends.
const farewell = time.Second

// NewListener lets clients of ln in to an MQTT broker that can be stopped at any moment.
// With the library's own (mochi-mqtt 2.7.9, listeners.Net), who is just being let in is
// counted while the broker's end waits for that count, and who has connected and says
// nothing holds the end up for ever.
func NewListener(ln net.Listener, broker *mochi.Server) listeners.Listener {
	return &mqttListener{ln: ln, broker: broker, conns: map[net.Conn]struct{}{}}
}

type mqttListener struct {
	ln     net.Listener
	broker *mochi.Server
	log    *slog.Logger

	mu       sync.Mutex
	conns    map[net.Conn]struct{} // nil when closed
	sessions sync.WaitGroup
}

func (*mqttListener) ID() string         { return "mqtt" }
func (l *mqttListener) Address() string  { return l.ln.Addr().String() }
func (l *mqttListener) Protocol() string { return l.ln.Addr().Network() }

func (l *mqttListener) Init(log *slog.Logger) error {
	l.log = log
	return nil
}

// Serve lets clients in until the listener is closed.
func (l *mqttListener) Serve(establish listeners.EstablishFn) {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.session(c, establish)
	}
}

func (l *mqttListener) session(c net.Conn, establish listeners.EstablishFn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		c.Close() //nolint:errcheck // nobody has used it
		return
	}
	l.conns[c] = struct{}{}
	l.sessions.Go(func() {
		if err := establish(l.ID(), c); err != nil {
			l.log.Warn("", "error", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	})
}

// Close lets nobody in any more, tells the sessions and waits for their end. The library's
// own way to tell them asks for a lock that it has already, and waits for ever where a
// session ends in between.
func (l *mqttListener) Close(listeners.CloseFn) {
	l.ln.Close() //nolint:errcheck // it listens no more
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	end := func() {
		for c := range conns {
			c.Close() //nolint:errcheck // it may be closed already
		}
	}
	late := time.AfterFunc(farewell, end)
	for _, c := range l.broker.Clients.GetAll() {
		if c.Net.Listener == l.ID() && !c.Closed() {
			l.broker.DisconnectClient(c, packets.ErrServerShuttingDown) //nolint:errcheck // it returns the reason
		}
	}
	late.Stop()
	end()
	l.sessions.Wait()
}
