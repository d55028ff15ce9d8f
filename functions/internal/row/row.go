// Package row makes messages of the columns that hold them in PostgreSQL, where
// that takes more than a copy: the functions that answer with a row, and change
// data capture, must agree about it.
package row

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
)

// OrganizationStatus follows from deleted_at and is no column.
func OrganizationStatus(deleted *timestamppb.Timestamp) organizationv1.OrganizationStatus {
	if deleted != nil {
		return organizationv1.OrganizationStatus_ORGANIZATION_STATUS_INACTIVE
	}
	return organizationv1.OrganizationStatus_ORGANIZATION_STATUS_ACTIVE
}

// Gateway sets what the columns status, type and config hold: the names of the
// enums' values, and the JSON of the message in the oneof that belongs to the
// type. A field of a newer version is no error.
func Gateway(g *gatewayv1.Gateway, status, kind, config string) error {
	g.Status = gatewayv1.GatewayStatus(gatewayv1.GatewayStatus_value[status])
	g.Type = gatewayv1.GatewayType(gatewayv1.GatewayType_value[kind])
	if g.Type != gatewayv1.GatewayType_GATEWAY_TYPE_EMQX {
		return fmt.Errorf("gateway %s has the type %q", g.GatewayId, kind)
	}
	emqx := &gatewayv1.EMQXGatewayConfig{}
	g.Config = &gatewayv1.Gateway_EmqxConfig{EmqxConfig: emqx}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(config), emqx)
}
