package mqttingest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// TestLongProperties publishes with more user properties than a packet may have bytes,
// also what is none of the gateway's business: it is a message or is refused, and what
// follows comes through.
func TestLongProperties(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	c, err := net.Dial("tcp", b.address(t))
	if err != nil {
		t.Fatal(err)
	}
	device := paho.NewClient(paho.ClientConfig{Conn: c})
	if _, err := device.Connect(t.Context(), &paho.Connect{ClientID: "device", KeepAlive: 60, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	p := &paho.PublishProperties{}
	for range 8 {
		p.User.Add("k", strings.Repeat("x", 60_000))
	}
	for _, m := range []*paho.Publish{
		{Topic: "other/thing", Payload: []byte("of another organization")},
		{Topic: "acme/thermometer", Payload: []byte("mine")},
		{Topic: "acme/thermometer", Payload: make([]byte, 500_000)},
	} {
		m.QoS, m.Properties = 1, p
		if _, err := device.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	done(t, publisher(t, b.url).Publish("acme/thermometer", 1, false, "innocent"))
	e.stored(t, 15*time.Second, 2)
}
