package local

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Broker is an MQTT broker to try gateways on: MQTT 5 and 3.1.1, everybody is let
// in, and sessions are kept in memory only. It is none of the engines, since
// Ponix works with the brokers that there are. (The broker in the NATS server
// would hand Ponix's own subjects to a gateway that subscribes to everything.)
type Broker struct {
	URL    string
	Port   int
	server *mochi.Server
}

// StartBroker starts a broker on a port, 0 for any.
func StartBroker(host string, port int, log *slog.Logger) (*Broker, error) {
	ln, err := listen(host, port, "--mqtt-port", "a gateway's broker_url")
	if err != nil {
		return nil, err
	}
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumInflight, capabilities.MaximumClientWritesPending = 1<<16-1, 1<<16-1
	s := mochi.New(&mochi.Options{
		Capabilities: capabilities, Logger: slog.New(quiet{log.With("part", MQTT).Handler()}),
		// The whole process stands still for each (runtime.ReadMemStats).
		SysTopicResendInterval: int64(time.Hour / time.Second),
	})
	hold := &takeovers{server: s}
	for _, h := range []mochi.Hook{new(auth.AllowHook), new(holdNothingBack), hold} {
		if err := s.AddHook(h, nil); err != nil {
			return nil, err
		}
	}
	if err := s.AddListener(listener{NewListener(ln, s), hold}); err != nil {
		return nil, err
	}
	if err := s.Serve(); err != nil {
		return nil, err
	}
	port = ln.Addr().(*net.TCPAddr).Port
	return &Broker{"mqtt://" + net.JoinHostPort(host, strconv.Itoa(port)), port, s}, nil
}

// Stop ends the broker with its sessions.
func (b *Broker) Stop() { b.server.Close() } //nolint:errcheck // it keeps nothing

// quiet makes debug messages of what is not a problem. The broker warns of every
// client that leaves.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	if level < slog.LevelError {
		level = slog.LevelDebug
	}
	return q.Handler.Enabled(ctx, level)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelError {
		r.Level = slog.LevelDebug
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }

// holdNothingBack makes the broker send everything at once. What it holds back
// for the sake of a client's receive maximum, it forgets when it sends it, and not
// when it is acknowledged: that is lost if the client goes away in between
// (mochi-mqtt 2.7.9, Server.processPacket).
type holdNothingBack struct{ mochi.HookBase }

func (*holdNothingBack) ID() string           { return "hold nothing back" }
func (*holdNothingBack) Provides(b byte) bool { return b == mochi.OnConnect }

func (*holdNothingBack) OnConnect(c *mochi.Client, _ packets.Packet) error {
	c.Properties.Props.ReceiveMaximum = 0
	c.State.Inflight.ResetSendQuota(0)
	return nil
}
