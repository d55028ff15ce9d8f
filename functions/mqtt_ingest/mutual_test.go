package mqttingest_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	mqttingest "ponix/functions/mqtt_ingest"
	"ponix/runtime/runtimetest"
)

// TestBrokerThatAsksForACertificate holds that its refusal is told as what it is, and not as
// another version of MQTT.
func TestBrokerThatAsksForACertificate(t *testing.T) {
	t.Parallel()
	e := start(t)
	ours, ca := certificate(t)
	e.instance(t, func(c *mqttingest.Config) { c.CAFile = ca })
	secure := &tls.Config{Certificates: []tls.Certificate{ours}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	at := runtimetest.Listen(t, func(c net.Conn) { tls.Server(c, secure).Handshake() }) //nolint:errcheck // the client sees it
	e.gateway(t, "create", "g1", "mqtts://"+at)
	if s := e.wantState(t, 20*time.Second, "g1", failing); strings.Contains(s.String(), "MQTT 5") || !strings.Contains(s.String(), "certificate required") || !strings.Contains(s.String(), "of which Ponix has none") {
		t.Errorf("got %v", s)
	}
}
