package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// version3 is MQTT 3.1.1, as its CONNECT has it.
const version3 = 4

const refused3 = 0x80 // a return code of SUBACK

// connect3 opens a session in MQTT 3.1.1.
func (s *session) connect3(ctx context.Context, l *link) (resumed bool, err error) {
	o := paho3.NewClientOptions().AddBroker("tcp://" + s.broker.Address).
		SetClientID(s.clientID()).SetUsername(s.broker.User).SetPassword(s.broker.Password).
		SetProtocolVersion(version3).SetCleanSession(false).
		SetKeepAlive(keepAlive * time.Second).SetConnectTimeout(connectTimeout).SetPingTimeout(connectTimeout).
		SetAutoReconnect(false).SetConnectRetry(false).
		SetOrderMatters(true).SetAutoAckDisabled(true).
		SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) { return s.dialer.open(ctx, s.broker, l) }).
		SetConnectionLostHandler(func(_ paho3.Client, err error) { l.fail(err) }).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) {
			s.receive(l, message{
				topic: m.Topic(), payload: m.Payload(), qos: m.Qos(), packet: m.MessageID(), duplicate: m.Duplicate(), received: time.Now(),
			}, m.Ack)
		})
	client := paho3.NewClient(o)
	token := client.Connect()
	if err := wait(ctx, token); err != nil {
		client.Disconnect(0)
		return false, err
	}
	l.mqtt = mqtt311{client, s.narrow()}
	return token.(*paho3.ConnectToken).SessionPresent(), nil
}

// wait waits for the broker's answer.
func wait(ctx context.Context, token paho3.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return fmt.Errorf("the broker did not answer within %v", connectTimeout)
	}
}

type mqtt311 struct {
	paho3.Client
	narrow string
}

func (c mqtt311) subscribe(ctx context.Context, filter string) error {
	token := c.Subscribe(filter, 1, nil)
	if err := wait(ctx, token); err != nil { // the library may be writing the result
		return err
	}
	if t, ok := token.(*paho3.SubscribeToken); ok && t.Result()[filter] == refused3 {
		return errRefused
	}
	return nil
}

func (c mqtt311) unsubscribe(ctx context.Context, filter string) error {
	return wait(ctx, c.Unsubscribe(filter))
}

// close cannot end a session in 3.1.1, but what is subscribed to, and so what
// would gather in it.
func (c mqtt311) close(forget bool) {
	if forget {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := errors.Join(wait(ctx, c.Unsubscribe(everything, c.narrow)), ctx.Err()); err != nil {
			c.Disconnect(0)
			return
		}
	}
	c.Disconnect(100)
}
