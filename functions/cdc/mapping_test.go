package cdc_test

import (
	"log/slog"
	"testing"

	"google.golang.org/protobuf/proto"

	enddevice "ponix/functions/end_device"
	"ponix/functions/gateway"
	"ponix/functions/organization"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
)

// Each event carries what the entity's own function answers with, whether it is of
// a snapshot or a change.
func TestEventsAreWhatGetReturns(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: e.nc, Streams: e.streams, Logger: slog.New(slog.DiscardHandler)},
		organization.New(e.db), enddevice.New(e.db, func(string) error { return nil }), gateway.New(e.db))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn := wire.NewClient(e.nc)
	organizations, devices, gateways := organizationv1.NewOrganizationServiceClient(conn), enddevicev1.NewEndDeviceServiceClient(conn), gatewayv1.NewGatewayServiceClient(conn)
	org, err := organizations.CreateOrganization(t.Context(), &organizationv1.CreateOrganizationRequest{Name: "Ünïcode \"GmbH\"\t😀"})
	if err != nil {
		t.Fatal(err)
	}
	device, err := devices.CreateEndDevice(t.Context(), &enddevicev1.CreateEndDeviceRequest{OrganizationId: org.OrganizationId, Name: "d", PayloadConversion: "{\n\t'a': '\\\\'\r\n}"})
	if err != nil {
		t.Fatal(err)
	}
	gw, err := gateways.CreateGateway(t.Context(), &gatewayv1.CreateGatewayRequest{
		OrganizationId: org.OrganizationId, Name: "gw", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: "mqtts://u:%22p%5C@h:8883"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.instance(t)
	e.streaming(t)
	changed, err := gateways.UpdateGateway(t.Context(), &gatewayv1.UpdateGatewayRequest{GatewayId: gw.Gateway.GatewayId, Status: gatewayv1.GatewayStatus_GATEWAY_STATUS_ERROR, Name: "GW"})
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := devices.UpdateEndDevice(t.Context(), &enddevicev1.UpdateEndDeviceRequest{DeviceId: device.EndDevice.DeviceId, PayloadConversion: new("")})
	if err != nil {
		t.Fatal(err)
	}
	before, err := organizations.GetOrganization(t.Context(), &organizationv1.GetOrganizationRequest{OrganizationId: org.OrganizationId})
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := organizations.DeleteOrganization(t.Context(), &organizationv1.DeleteOrganizationRequest{OrganizationId: org.OrganizationId})
	if err != nil {
		t.Fatal(err)
	}
	gone := proto.CloneOf(changed.Gateway) // with its organization
	gone.UpdatedAt, gone.DeletedAt = deleted.Organization.DeletedAt, deleted.Organization.DeletedAt
	for stream, want := range map[string][]proto.Message{
		"organizations": {before.Organization, deleted.Organization},
		"end_devices":   {device.EndDevice, renamed.EndDevice},
		"gateways":      {gw.Gateway, changed.Gateway, gone},
	} {
		for i, ev := range e.events(t, stream, len(want)) {
			if got := decode(t, ev, want[i].ProtoReflect().New().Interface()); !proto.Equal(got, want[i]) {
				t.Errorf("%s %d (%s): got %v, want %v", stream, i, ev.operation, got, want[i])
			}
		}
	}
}

// The times that PostgreSQL knows and Go's layouts do not.
func TestTimes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.instance(t)
	e.streaming(t)
	for _, at := range []string{"0044-03-15 12:00:00+00 BC", "12026-01-01 00:00:00+05:30", "2026-01-01 00:00:00.000001+00", "1900-01-01 00:00:00+00"} {
		e.exec(t, "INSERT INTO organizations (id, name, created_at) VALUES ($1, 'acme', $1::text::timestamptz)", at)
	}
	for _, ev := range e.events(t, "organizations", 4) {
		o := decode(t, ev, &organizationv1.Organization{})
		if !e.truth(t, "SELECT extract(epoch FROM created_at)::numeric = "+decimal(o.CreatedAt.Seconds, o.CreatedAt.Nanos)+" FROM organizations WHERE id = '"+o.Id+"'") {
			t.Errorf("%s became %v", o.Id, o.CreatedAt)
		}
	}
}
