package main

import (
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

var mqttMessages = flag.Int("mqtt-messages", 3000, "messages that TestKilledGatewayOwner sends")

// gatewayEvent tells of a gateway as change data capture does.
func gatewayEvent(t *testing.T, js jetstream.JetStream, organization, brokerURL string) {
	t.Helper()
	data, err := proto.Marshal(&gatewayv1.Gateway{
		GatewayId: "g1", OrganizationId: organization, Name: "roof", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX, CreatedAt: timestamppb.Now(),
		Config: &gatewayv1.Gateway_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: brokerURL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "gateways.create", data); err != nil {
		t.Fatal(err)
	}
}

// mqttDevice connects as most tools do without an option: in MQTT 3.1.1.
func mqttDevice(t *testing.T, brokerURL string) paho3.Client {
	t.Helper()
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker(brokerURL).SetProtocolVersion(4).SetClientID("device"))
	if token := c.Connect(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// wantStatus waits until `ponix gateway status` shows a line with all of words.
func wantStatus(t *testing.T, env []string, organization string, words ...string) {
	t.Helper()
	runtimetest.Eventually(t, 20*time.Second, func() error {
		out, err := call(t, env, "gateway", "status", "--organization", organization)
		if err != nil {
			return err
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Errorf("no %q in\n%s", w, out)
			}
		}
		return nil
	})
}

// overMQTT creates a gateway with the broker of `ponix up --mqtt`, and follows a
// message from there to its row; then a change of the device's expression.
func (c *cluster) overMQTT(t *testing.T, p *ponix, organization string) {
	t.Helper()
	brokerURL := p.waitFor(t, time.Second, `^✓ MQTT\s+(mqtt://\S+)`)[1]
	device := c.device(t, organization, decode)
	created, err := c.gateways.CreateGateway(t.Context(), &gatewayv1.CreateGatewayRequest{
		OrganizationId: organization, Name: "roof", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: brokerURL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.env, organization, created.Gateway.GatewayId, "connected")
	mqtt := mqttDevice(t, brokerURL)
	send := func() {
		if token := mqtt.Publish(organization+"/"+device, 1, false, temperature); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatalf("publish: %v", token.Error())
		}
	}
	send()
	c.wantData(t, device, `{"data":{"temperature_1":27.2}}`)
	if _, err := c.devices.UpdateEndDevice(t.Context(), &enddevicev1.UpdateEndDeviceRequest{DeviceId: device, PayloadConversion: proto.String(`{"bytes": size(input)}`)}); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 5*time.Second, func() error { // the rows come a moment after the event
		send()
		got, err := call(t, c.env, "sql", "--format", "json", "SELECT data FROM processed_envelopes FINAL WHERE end_device_id = '"+device+"' ORDER BY occurred_at DESC LIMIT 1")
		if err == nil && got != `{"data":{"bytes":4}}`+"\n" {
			err = fmt.Errorf("got %s", got)
		}
		return err
	})
	if _, err := c.gateways.DeleteGateway(t.Context(), &gatewayv1.DeleteGatewayRequest{GatewayId: created.Gateway.GatewayId}); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 5*time.Second, func() error {
		if out, err := call(t, c.env, "gateway", "status"); err != nil || strings.Contains(out, created.Gateway.GatewayId) {
			return fmt.Errorf("%w: the gateway is there:\n%s", err, out)
		}
		return nil
	})
}

// TestKilledGatewayOwner kills the instance that owns a gateway three times with
// -9 while messages come: each becomes one envelope.
func TestKilledGatewayOwner(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	env := []string{"PONIX_NATS_URL=" + srv.ClientURL(), "PONIX_MQTT_LEASE=2s"}
	serve := func() *ponix {
		p := start(t, env, "serve", "gateway-state", "mqtt-ingest")
		p.waitFor(t, 20*time.Second, "msg=serving")
		return p
	}
	js, err := jetstream.New(runtimetest.Connect(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	owner := serve()
	gatewayEvent(t, js, "acme", b.URL)
	wantStatus(t, env, "acme", "connected", "g1", "roof")
	next := serve()
	total := *mqttMessages
	sent := make(chan error, 4)
	device := mqttDevice(t, b.URL)
	send := func(quarter int) {
		for i := quarter * total / 4; i < (quarter+1)*total/4; i++ {
			token := device.Publish("acme/thermometer", 1, false, fmt.Sprintf("message %d", i))
			if i%10 == 0 && (!token.WaitTimeout(20*time.Second) || token.Error() != nil) {
				sent <- fmt.Errorf("message %d: %w", i, token.Error())
				return
			}
		}
		sent <- nil
	}
	for kill := range 3 {
		go send(kill)
		wantRaw(t, js, total*(3*kill+1)/12, false) // some of them are under way
		owner.kill(t)                              // which joined first, and so has the gateway
		owner, next = next, serve()
	}
	go send(3)
	for range 4 {
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	wantStatus(t, env, "acme", "connected")
	wantRaw(t, js, total, true)
	if out := must(t, env, "gateway", "status", "--organization", "acme", "--format", "json"); !strings.Contains(out, `"CONNECTION_STATUS_CONNECTED"`) {
		t.Errorf("got %s", out)
	}
}

// wantRaw waits for so many raw envelopes, and then holds them to be just those,
// each another.
func wantRaw(t *testing.T, js jetstream.JetStream, n int, exactly bool) {
	t.Helper()
	s, err := js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, time.Minute, func() error {
		info, err := s.Info(t.Context())
		if err == nil && info.State.Msgs < uint64(n) {
			err = fmt.Errorf("%d envelopes, want %d", info.State.Msgs, n)
		}
		return err
	})
	if !exactly {
		return
	}
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	payloads := map[string]bool{}
	total := 0
	for {
		m, err := c.Next(jetstream.FetchMaxWait(time.Second))
		if err != nil {
			break // nothing more comes
		}
		raw := &envelopev1.RawEnvelope{}
		if err := proto.Unmarshal(m.Data(), raw); err != nil {
			t.Fatal(err)
		}
		payloads[string(raw.Payload)] = true
		total++
	}
	if total != n || len(payloads) != n {
		t.Errorf("%d envelopes with %d payloads, want %d", total, len(payloads), n)
	}
}
