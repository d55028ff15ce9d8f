package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	session5 "github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
)

// sessionExpiry is how long a broker keeps what it has for a gateway while
// nobody is connected, in seconds; keepAlive is how often a silent connection is
// tried, in seconds.
const (
	sessionExpiry = 24 * 60 * 60
	keepAlive     = 20
)

// errOlder says that a broker does not speak MQTT 5.
var errOlder = errors.New("the broker does not speak MQTT 5")

// connect5 opens a session in MQTT 5.
func (s *session) connect5(ctx context.Context, l *link) (resumed bool, err error) {
	conn, err := s.dialer.open(ctx, s.broker, l)
	if err != nil {
		return false, err
	}
	conn.properties = true
	acks := state.NewInMemory()
	client := paho.NewClient(paho.ClientConfig{
		ClientID: s.clientID(), Conn: conn, PacketTimeout: connectTimeout,
		Session:            whenStored{acks},
		AuthHandler:        noMethod{conn, l},
		OnClientError:      l.fail,
		OnServerDisconnect: func(d *paho.Disconnect) { l.fail(disconnected(d)) },
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			m := message{
				topic: p.Packet.Topic, payload: p.Packet.Payload, qos: p.Packet.QoS, packet: p.Packet.PacketID,
				duplicate: p.Packet.Duplicate(), received: time.Now(),
			}
			stored := packets.Publish{PacketID: m.packet, QoS: m.qos}
			s.receive(l, m, func() {
				if stored.QoS > 0 {
					acks.Ack(&stored) //nolint:errcheck // where the connection is gone, the broker sends it again
				}
			})
			return true, nil
		}},
	})
	connack, err := client.Connect(ctx, &paho.Connect{
		ClientID: s.clientID(), KeepAlive: keepAlive,
		Username: s.broker.User, UsernameFlag: s.broker.User != "",
		Password: []byte(s.broker.Password), PasswordFlag: s.broker.Password != "",
		Properties: &paho.ConnectProperties{SessionExpiryInterval: new(uint32(sessionExpiry)), ReceiveMaximum: new(uint16(receiveMaximum))},
	})
	switch {
	case err == nil:
		l.mqtt = mqtt5{client}
		return connack.SessionPresent, nil
	case connack != nil && connack.ReasonCode != packets.ConnackUnsupportedProtocolVersion && connack.ReasonCode >= 0x80:
		return false, ended{fmt.Errorf("the broker refuses the session: %s", reason(connack.ReasonCode, connack.Properties)), connack.ReasonCode}
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return false, fmt.Errorf("the broker did not answer within %v", connectTimeout)
	}
	var refused *net.OpError
	switch {
	case l.gone() && errors.Is(l.err, errMethod):
		return false, errMethod
	case l.gone() && errors.As(l.err, &refused) && refused.Op == "remote error": // by TLS 1.3 it comes after the handshake
		return false, fmt.Errorf("the broker refuses TLS, as one does that asks clients for certificates, of which Ponix has none: %w", l.err)
	}
	// An older broker closes the connection, or answers in its own language.
	return false, fmt.Errorf("%w: %w", errOlder, err)
}

// whenStored keeps paho.golang from acknowledging a message as soon as its handler has
// returned, when it is on its way to JetStream only. What it has for that itself looks
// through all outstanding messages for each one, and sends every few milliseconds.
type whenStored struct{ session5.SessionManager }

func (whenStored) Ack(*packets.Publish) error { return nil }

// errMethod says that a broker wants to go on with a method of authentication.
var errMethod = errors.New("the broker asks for an authentication that nobody has begun")

// noMethod is for brokers that speak of such a method. Without a handler paho.golang panics
// where a CONNACK names one.
type noMethod struct {
	conn *frames
	link *link
}

func (noMethod) Authenticated() {}

func (n noMethod) Authenticate(*paho.Auth) *paho.Auth {
	n.link.fail(errMethod)
	n.conn.Close() //nolint:errcheck // what is answered is not sent any more
	return &paho.Auth{Properties: &paho.AuthProperties{}}
}

func reason(code byte, p *paho.ConnackProperties) string {
	text := (&packets.Connack{ReasonCode: code}).Reason()
	if p != nil && p.ReasonString != "" {
		text += ": " + p.ReasonString
	}
	return fmt.Sprintf("%s (0x%02X)", text, code)
}

func disconnected(d *paho.Disconnect) error {
	if d.ReasonCode == packets.DisconnectSessionTakenOver {
		return errors.New("the broker ends the session: another client uses the same client id")
	}
	text := ""
	if d.Properties != nil && d.Properties.ReasonString != "" {
		text = ": " + d.Properties.ReasonString
	}
	return ended{fmt.Errorf("the broker ends the session (0x%02X)%s", d.ReasonCode, text), d.ReasonCode}
}

// ended is why a broker ends a session, or refuses it.
type ended struct {
	error
	code byte
}

// byRights tells whether somebody may have changed what the user is allowed. mosquitto then takes
// away what the session is subscribed to, and keeps the session, also where it is allowed again.
func byRights(err error) bool {
	var e ended
	return errors.As(err, &e) && (e.code == packets.DisconnectNotAuthorized || e.code == packets.DisconnectAdministrativeAction)
}

type mqtt5 struct{ *paho.Client }

func (c mqtt5) subscribe(ctx context.Context, filter string) error {
	const unlessSubscribed = 1 // what is retained is sent once, not with each connection
	ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1, RetainHandling: unlessSubscribed}}})
	if ack != nil && len(ack.Reasons) == 1 && ack.Reasons[0] >= 0x80 {
		return fmt.Errorf("%w: 0x%02X", errRefused, ack.Reasons[0])
	}
	return err
}

func (c mqtt5) unsubscribe(ctx context.Context, filter string) error {
	ack, err := c.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{filter}})
	if ack != nil { // whatever it says of a subscription that it may not have
		return nil
	}
	return err
}

func (c mqtt5) close(forget bool) {
	d := &paho.Disconnect{ReasonCode: packets.DisconnectNormalDisconnection}
	if forget {
		d.Properties = &paho.DisconnectProperties{SessionExpiryInterval: new(uint32(0))}
	}
	c.Disconnect(d) //nolint:errcheck // it may be gone already
}
