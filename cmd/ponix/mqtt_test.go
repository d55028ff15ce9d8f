package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	"google.golang.org/protobuf/proto"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

// gateway creates a gateway and returns its id.
func (c *cluster) gateway(t *testing.T, organization, brokerURL string) string {
	t.Helper()
	created, err := c.gateways.CreateGateway(t.Context(), &gatewayv1.CreateGatewayRequest{
		OrganizationId: organization, Name: "roof", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: brokerURL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return created.Gateway.GatewayId
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

// wantStatus waits until `ponix gateway status` shows all of words, each whole: who is disconnected is
// not connected.
func wantStatus(t *testing.T, env []string, organization string, words ...string) {
	t.Helper()
	runtimetest.Eventually(t, 20*time.Second, func() error {
		out, err := call(t, env, "gateway", "status", "--organization", organization)
		if err != nil {
			return err
		}
		for _, w := range words {
			if !slices.Contains(strings.Fields(out), w) {
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
	gateway := c.gateway(t, organization, brokerURL)
	wantStatus(t, c.env, organization, gateway, "connected")
	mqtt := mqttDevice(t, brokerURL)
	send := func() {
		if token := mqtt.Publish(organization+"/"+device, 1, false, temperature); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatalf("publish: %v", token.Error())
		}
	}
	send()
	c.wantData(t, device, `{"data":{"temperature_1":27.2}}`)
	sent := must(t, c.env, "sql", "SELECT formatDateTime(occurred_at, '%T') AS t FROM processed_envelopes FINAL WHERE end_device_id = '"+device+"'")
	wantStatus(t, append(slices.Clip(c.env), "TZ=Asia/Kolkata"), organization, strings.Fields(sent)[1]) // its time is that of the row
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
	if _, err := c.gateways.DeleteGateway(t.Context(), &gatewayv1.DeleteGatewayRequest{GatewayId: gateway}); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 5*time.Second, func() error {
		if out, err := call(t, c.env, "gateway", "status"); err != nil || strings.Contains(out, gateway) {
			return fmt.Errorf("%w: the gateway is there:\n%s", err, out)
		}
		return nil
	})
}

// TestKilledGatewayOwner kills the instance that owns a gateway three times with
// -9 while messages come: each becomes one row.
func TestKilledGatewayOwner(t *testing.T) {
	t.Parallel()
	const total = 10_000
	c := enginesOnly(t)
	c.env = append(c.env, "PONIX_MQTT_LEASE=2s")
	serve := func(functions ...string) *ponix {
		p := start(t, c.env, append([]string{"serve"}, functions...)...)
		p.waitFor(t, 20*time.Second, "msg=serving")
		return p
	}
	serve("organization", "end-device", "gateway", "cdc", "convert", "store")
	own := func() *ponix { return serve("gateway-state", "mqtt-ingest") }
	b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	org := c.organization(t)
	topic := org + "/" + c.device(t, org, `{"message": string(input)}`)
	owner := own()
	wantStatus(t, c.env, org, c.gateway(t, org, b.URL), "connected", "roof")
	next := own()
	sent := make(chan error, 4)
	device := mqttDevice(t, b.URL)
	send := func(quarter int) {
		for i := quarter * total / 4; i < (quarter+1)*total/4; i++ {
			token := device.Publish(topic, 1, false, fmt.Sprintf("message %d", i))
			if i%10 == 0 && (!token.WaitTimeout(20*time.Second) || token.Error() != nil) {
				sent <- fmt.Errorf("message %d: %w", i, token.Error())
				return
			}
		}
		sent <- nil
	}
	for kill := range 3 {
		go send(kill)
		c.received(t, uint64(total*(3*kill+1)/12)) // some of them are under way
		owner.kill(t)                              // which joined first, and so has the gateway
		owner, next = next, own()
	}
	go send(3)
	for range 4 {
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	c.wantMessages(t, total)
	wantStatus(t, c.env, org, "connected")
	owner.interrupt(t)
	next.interrupt(t)
	c.quiet(t)
	c.wantMessages(t, total)
}

// received waits until so many raw envelopes are there.
func (c *cluster) received(t *testing.T, n uint64) {
	t.Helper()
	runtimetest.Eventually(t, time.Minute, func() error {
		s, err := c.js.Stream(t.Context(), "raw_envelopes")
		if err == nil && s.CachedInfo().State.LastSeq < n {
			err = fmt.Errorf("%d envelopes, want %d", s.CachedInfo().State.LastSeq, n)
		}
		return err
	})
}

// quiet waits until every raw envelope that there is has become a row.
func (c *cluster) quiet(t *testing.T) {
	t.Helper()
	for _, at := range [][2]string{{"raw_envelopes", "convert"}, {"processed_envelopes", "store"}} {
		runtimetest.Eventually(t, 30*time.Second, func() error {
			consumer, err := c.js.Consumer(t.Context(), at[0], at[1])
			if err != nil {
				return err
			}
			if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
				return fmt.Errorf("%s has %d messages to do, and %d in hand", at[1], info.NumPending, info.NumAckPending)
			}
			return nil
		})
	}
}

// wantMessages waits until there are the rows of n messages, each once.
func (c *cluster) wantMessages(t *testing.T, n int) {
	t.Helper()
	want := fmt.Sprintf(`{"rows":%d,"envelopes":%d,"messages":%d}`+"\n", n, n, n)
	runtimetest.Eventually(t, time.Minute, func() error {
		got, err := call(t, c.env, "sql", "--format", "json",
			"SELECT count() AS rows, uniqExact(envelope_id) AS envelopes, uniqExact(data.message::String) AS messages FROM processed_envelopes FINAL")
		if err == nil && got != want {
			err = fmt.Errorf("got %s, want %s", got, want)
		}
		return err
	})
}
