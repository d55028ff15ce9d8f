package conf_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
)

// TestPermissions tries what each user may do, and what it may not.
func TestPermissions(t *testing.T) {
	s := start(t)
	conns := map[string]*nats.Conn{}
	for _, tt := range []struct {
		user, subjects string // subjects with + are allowed, with - refused
	}{
		{"bridge publishes", "+ponix.a.v1.B.C -gateways.create -raw_envelopes.a.b -processed_envelopes.a.b -dead_letters.convert.x -$JS.API.INFO -$JS.API.STREAM.INFO.raw_envelopes -$SRV.PING -$KV.gateways.a -_INBOX.a -_INBOX_convert.a"},
		{"bridge listens", "+_INBOX_bridge.> -> -_INBOX.> -_INBOX_convert.> -ponix.> -raw_envelopes.> -gateways.> -$SRV.PING -$JS.EVENT.>"},
		{"organization publishes", "-ponix.end_device.v1.EndDeviceService.GetEndDevice -raw_envelopes.a.b -gateways.create -organizations.create -$JS.API.STREAM.INFO.raw_envelopes -_INBOX_bridge.a"},
		{"organization listens", "+ponix.organization.v1.OrganizationService.* +$SRV.PING +$SRV.INFO.organization +_INBOX_organization.> -ponix.> -ponix.gateway.v1.GatewayService.* -organizations.> -_INBOX_bridge.> -$SRV.PING.convert"},
		{"end-device publishes", "-ponix.organization.v1.OrganizationService.GetOrganization -end_devices.create -$JS.API.STREAM.PURGE.raw_envelopes"},
		{"end-device listens", "+ponix.end_device.v1.EndDeviceService.* -ponix.organization.v1.OrganizationService.* -end_devices.>"},
		{"gateway publishes", "-gateways.create -gateways.update -$KV.gateways.a -raw_envelopes.a.b"},
		{"gateway listens", "+ponix.gateway.v1.GatewayService.* -ponix.gateway.v1.GatewayStateService.* -gateways.> -$KV.gateways.>"},
		{"convert publishes", "+processed_envelopes.a.b +dead_letters.convert.x +ponix.end_device.v1.EndDeviceService.GetEndDevice +ponix.organization.v1.OrganizationService.GetOrganization +$JS.ACK.raw_envelopes.convert.1.2.3.4.5 " +
			"-gateways.create -gateways.update -gateways.delete -gateways.> -end_devices.create -raw_envelopes.a.b -dead_letters.store.x -ponix.end_device.v1.EndDeviceService.DeleteEndDevice -ponix.organization.v1.OrganizationService.DeleteOrganization " +
			"-$JS.ACK.processed_envelopes.store.1.2.3.4.5 -$JS.API.STREAM.DELETE.raw_envelopes -$JS.API.STREAM.UPDATE.raw_envelopes -$JS.API.STREAM.CREATE.gateways -$JS.API.STREAM.PURGE.processed_envelopes -$JS.API.CONSUMER.CREATE.gateways.x -$JS.API.CONSUMER.CREATE.raw_envelopes.x -$KV.gateways.a"},
		{"convert listens", "+ponix.envelope.v1.ConversionService.* -ponix.envelope.v1.EnvelopeService.* -raw_envelopes.> -processed_envelopes.> -_INBOX_store.>"},
		{"store publishes", "+raw_envelopes.a.b +dead_letters.store.x +$JS.API.CONSUMER.MSG.NEXT.processed_envelopes.store -processed_envelopes.a.b -gateways.create -dead_letters.convert.x -ponix.end_device.v1.EndDeviceService.GetEndDevice -$JS.API.STREAM.DELETE.processed_envelopes -$JS.API.CONSUMER.MSG.NEXT.raw_envelopes.convert"},
		{"store listens", "+ponix.envelope.v1.EnvelopeService.* -ponix.envelope.v1.ConversionService.* -processed_envelopes.>"},
		{"gateway-state publishes", "+$KV.gateways.g1 +$JS.ACK.gateways.gateway-state.1.2.3.4.5 +dead_letters.gateway-state.x -gateways.create -$KV.leases.a -$KV.cdc.a -raw_envelopes.a.b -$JS.API.STREAM.PURGE.raw_envelopes"},
		{"gateway-state listens", "+ponix.gateway.v1.GatewayStateService.* -ponix.gateway.v1.GatewayService.* -gateways.>"},
		{"mqtt-ingest publishes", "+raw_envelopes.a.b +$KV.leases.a +$KV.gateways.g1 +$KV.mqtt_sessions.g1 -gateways.create -processed_envelopes.a.b -$KV.cdc.a -ponix.gateway.v1.GatewayService.GetGateway -$JS.API.CONSUMER.CREATE.KV_mqtt_sessions.x -$JS.API.STREAM.PURGE.raw_envelopes -$JS.ACK.raw_envelopes.convert.1.2.3.4.5"},
		{"mqtt-ingest listens", "+$SRV.STATS -ponix.> -raw_envelopes.>"},
		{"cdc publishes", "+gateways.create +end_devices.update +organizations.delete +$KV.cdc.a -raw_envelopes.a.b -gateways.other -$KV.gateways.g1 -$JS.API.STREAM.DELETE.gateways -$JS.API.STREAM.UPDATE.gateways -$JS.API.STREAM.CREATE.KV_cdc -$JS.API.STREAM.UPDATE.KV_cdc -$JS.API.CONSUMER.CREATE.KV_cdc.x"},
		{"cdc listens", "+ponix.cdc.v1.CdcService.* -ponix.gateway.v1.GatewayService.* -gateways.>"},
		{"operator publishes", "+ponix.a.v1.B.C +$SRV.STATS +raw_envelopes.a.b +$JS.API.STREAM.INFO.raw_envelopes -_INBOX_bridge.a -$KV.gateways.a -$SYS.REQ.SERVER.PING"},
		{"operator listens", "+_INBOX_operator.> -> -_INBOX_bridge.> -ponix.> -raw_envelopes.>"},
		{"device-1 publishes", "+raw_envelopes.acme.device-1 -raw_envelopes.acme.device-2 -raw_envelopes.other.device-1 -raw_envelopes.acme.device-1.x -processed_envelopes.acme.device-1 -ponix.envelope.v1.EnvelopeService.PublishRawEnvelopes -$JS.API.INFO -gateways.create"},
		{"device-1 listens", "+_INBOX_device-1.> -_INBOX.> -raw_envelopes.> -raw_envelopes.acme.device-1 ->"},
	} {
		user, does, _ := strings.Cut(tt.user, " ")
		if conns[user] == nil {
			conns[user] = s.connect(t, user)
		}
		for _, subject := range strings.Fields(tt.subjects) {
			allowed := subject[0] == '+'
			if got := may(t, conns[user], does, subject[1:]); got != allowed {
				t.Errorf("%s %s: allowed is %v, want %v", tt.user, subject[1:], got, allowed)
			}
		}
	}
}

// may tries one thing and tells whether the server let it pass.
func may(t *testing.T, nc *nats.Conn, does, subject string) bool {
	t.Helper()
	if does == "publishes" {
		if err := nc.Publish(strings.ReplaceAll(subject, ">", "any"), nil); err != nil {
			t.Fatal(err)
		}
		subject = strings.ReplaceAll(subject, ">", "any")
	} else if _, err := nc.SubscribeSync(subject); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	err := nc.LastError()
	return err == nil || !strings.Contains(err.Error(), `"`+subject+`"`)
}

func TestStrangersAreRefused(t *testing.T) {
	s := start(t)
	write(t, s.PasswordFile, []byte("a guess"))
	bare := config.NATS{URL: s.URL, CA: s.CA}
	for name, c := range map[string]config.NATS{
		"a wrong password": {URL: s.URL, CA: s.CA, Cert: s.Cert, Key: s.Key, Username: "bridge", PasswordFile: s.PasswordFile},
		"nobody":           {URL: s.URL, CA: s.CA, Cert: s.Cert, Key: s.Key},
		"no certificate":   bare,
	} {
		nc, err := c.Dial(t.Context(), "stranger")
		if err == nil {
			nc.Close()
			t.Errorf("%s gets in", name)
		} else if strings.Contains(err.Error(), "a guess") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
}

// TestDevicesChooseNoSubject has a device name other subjects than its own for the
// answer to what it publishes: the server itself writes there, whatever the device may.
func TestDevicesChooseNoSubject(t *testing.T) {
	s := start(t)
	c := config.Default[streams.Config]()
	operator, err := jetstream.New(s.connect(t, "operator"))
	if err != nil {
		t.Fatal(err)
	}
	all := []streams.Stream{c.RawEnvelopes(), c.ProcessedEnvelopes(), c.GatewayEvents()}
	if err := streams.Ensure(t.Context(), operator, all...); err != nil {
		t.Fatal(err)
	}
	buckets := []jetstream.KeyValueConfig{c.GatewayStates(), c.Leases(), c.MQTTSessions(), c.CaptureState()}
	if err := streams.EnsureBuckets(t.Context(), operator, buckets...); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{c.Processed: "processed_envelopes.acme.device-2", c.Gateways: "gateways.create"}
	for _, b := range buckets {
		names["KV_"+b.Bucket] = "$KV." + b.Bucket + ".a"
	}
	device := s.connect(t, "device-1")
	for _, subject := range names {
		if err := device.PublishRequest("raw_envelopes.acme.device-1", subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := device.Publish("raw_envelopes.acme.device-1", []byte("x")); err != nil { // it need not ask for one
		t.Fatal(err)
	}
	if _, err := device.Request("raw_envelopes.acme.device-1", []byte("x"), 5*time.Second); err != nil { // an answer to itself it gets
		t.Fatal(err)
	}
	raw, err := operator.Stream(t.Context(), c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := raw.CachedInfo().State.Msgs, uint64(len(names)+2); got != want {
		t.Errorf("%d messages of the device are there, want %d", got, want)
	}
	for name, subject := range names {
		stream, err := operator.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Msgs; n > 0 {
			m, _ := stream.GetLastMsgForSubject(t.Context(), subject)
			t.Errorf("the device has written %s to %s", m.Data, subject)
		}
	}
}
