package cdc

import (
	"fmt"
	"strings"

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
	columns []column                    // that it must have; it may have more
	message func(*values) proto.Message // of these columns
}

// column is one of a table.
type column struct {
	name string
	oid  uint32 // of its type
}

const (
	text        = pgtype.TextOID
	timestamptz = pgtype.TimestamptzOID
	jsonb       = pgtype.JSONBOID
)

// entities are the tables that are followed, in the order of their snapshots:
// what is referred to comes first.
func entities(c streams.Config) []*entity {
	return []*entity{
		{"organizations", c.OrganizationEvents(), []column{
			{"id", text}, {"name", text}, {"created_at", timestamptz}, {"updated_at", timestamptz}, {"deleted_at", timestamptz},
		}, organization},
		{"end_devices", c.EndDeviceEvents(), []column{
			{"id", text}, {"organization_id", text}, {"name", text}, {"payload_conversion", text},
			{"created_at", timestamptz}, {"updated_at", timestamptz},
		}, endDevice},
		{"gateways", c.GatewayEvents(), []column{
			{"id", text}, {"organization_id", text}, {"name", text}, {"status", text}, {"type", text}, {"config", jsonb},
			{"created_at", timestamptz}, {"updated_at", timestamptz}, {"deleted_at", timestamptz},
		}, gateway},
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
	v.note(row.Gateway(g, v.text(3), v.text(4), v.json(5)))
	return g
}

// values are a row's columns in PostgreSQL's binary formats, nil for NULL, in the order
// of the entity's columns. The first that cannot be read is kept as err.
type values struct {
	of  [][]byte
	err error
	at  pgtype.Timestamptz // that was read last
}

func (v *values) note(err error) {
	if v.err == nil {
		v.err = err
	}
}

// text is a text's value.
func (v *values) text(i int) string { return string(v.of[i]) }

// json is a jsonb's value, its text after the number of its format.
func (v *values) json(i int) string { return strings.TrimPrefix(string(v.of[i]), "\x01") }

var scanTime = (&pgtype.TimestamptzCodec{}).PlanScan(nil, pgtype.TimestamptzOID, pgtype.BinaryFormatCode, &pgtype.Timestamptz{})

// time is a timestamptz's value.
func (v *values) time(i int) *timestamppb.Timestamp {
	if v.of[i] == nil {
		return nil
	}
	if err := scanTime.Scan(v.of[i], &v.at); err != nil {
		v.note(err)
	} else if v.at.InfinityModifier != pgtype.Finite {
		v.note(fmt.Errorf("%v is no time that a message can hold", v.at.InfinityModifier))
	}
	return timestamppb.New(v.at.Time)
}
