package cdc

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/internal/row"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"

	"ponix/nats/streams"
)

// entity is a table whose rows are messages.
type entity struct {
	table   string
	stream  streams.Stream
	columns []string                    // that it must have; it may have more
	message func(*values) proto.Message // of these columns
}

// entities are the tables that are followed, in the order of their snapshots:
// what is referred to comes first.
func entities(c streams.Config) []*entity {
	return []*entity{
		{"organizations", c.OrganizationEvents(), []string{"id", "name", "created_at", "updated_at", "deleted_at"}, organization},
		{"end_devices", c.EndDeviceEvents(), []string{"id", "organization_id", "name", "payload_conversion", "created_at", "updated_at"}, endDevice},
		{"gateways", c.GatewayEvents(), []string{"id", "organization_id", "name", "status", "type", "config", "created_at", "updated_at", "deleted_at"}, gateway},
	}
}

func organization(v *values) proto.Message {
	o := &organizationv1.Organization{Id: v.text(0), Name: v.text(1), CreatedAt: v.time(2), UpdatedAt: v.time(3), DeletedAt: v.time(4)}
	o.Status = row.OrganizationStatus(o.DeletedAt)
	return o
}

func endDevice(v *values) proto.Message {
	return &enddevicev1.EndDevice{
		DeviceId: v.text(0), OrganizationId: v.text(1), Name: v.text(2), PayloadConversion: v.text(3),
		CreatedAt: v.time(4), UpdatedAt: v.time(5),
	}
}

func gateway(v *values) proto.Message {
	g := &gatewayv1.Gateway{
		GatewayId: v.text(0), OrganizationId: v.text(1), Name: v.text(2),
		CreatedAt: v.time(6), UpdatedAt: v.time(7), DeletedAt: v.time(8),
	}
	v.note(row.Gateway(g, v.text(3), v.text(4), v.text(5)))
	return g
}

// values are a row's columns as text, nil for NULL, in the order of the entity's
// columns. The first that cannot be read is kept as err.
type values struct {
	of  [][]byte
	err error
}

func (v *values) note(err error) {
	if v.err == nil {
		v.err = err
	}
}

func (v *values) text(i int) string { return string(v.of[i]) }

// layout is how PostgreSQL writes a timestamptz with DateStyle ISO.
const layout = "2006-01-02 15:04:05.999999-07"

func (v *values) time(i int) *timestamppb.Timestamp {
	if v.of[i] == nil {
		return nil
	}
	text := string(v.of[i])
	if t, err := time.Parse(layout, text); err == nil {
		return timestamppb.New(t)
	}
	var t pgtype.Timestamptz // which also knows years that have five digits
	if err := t.Scan(text); err != nil {
		v.note(err)
	} else if t.InfinityModifier != pgtype.Finite {
		v.note(fmt.Errorf("%s is no time that a message can hold", text))
	}
	return timestamppb.New(t.Time)
}
