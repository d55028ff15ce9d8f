package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/wire"
)

// Against loads a cluster that runs, as a device of an organization of its own:
// rate envelopes a second for d, a round. Both are removed by done; the envelopes
// stay. There is no limit loop beside it, and the cluster's CPU is not known.
func Against(ctx context.Context, nc *nats.Conn, c streams.Config, rate int, d time.Duration) (s Suite, done func() error, err error) {
	js, err := c.JetStream(nc)
	if err != nil {
		return s, nil, err
	}
	client := wire.NewClient(nc)
	organizations := organizationv1.NewOrganizationServiceClient(client)
	endDevices := enddevicev1.NewEndDeviceServiceClient(client)
	o, err := organizations.CreateOrganization(ctx, &organizationv1.CreateOrganizationRequest{Name: "ponix bench"})
	if err != nil {
		return s, nil, err
	}
	org, dev := o.OrganizationId, ""
	done = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		var err error
		if dev != "" {
			_, err = endDevices.DeleteEndDevice(ctx, &enddevicev1.DeleteEndDeviceRequest{DeviceId: dev})
		}
		_, err2 := organizations.DeleteOrganization(ctx, &organizationv1.DeleteOrganizationRequest{OrganizationId: org})
		return errors.Join(err, err2)
	}
	e, err := endDevices.CreateEndDevice(ctx, &enddevicev1.CreateEndDeviceRequest{OrganizationId: org, Name: "ponix bench", PayloadConversion: decodeAll})
	if err != nil {
		return s, nil, errors.Join(err, done())
	}
	dev = e.EndDevice.DeviceId
	raw, processed := c.RawEnvelopes(), c.ProcessedEnvelopes()
	t := target{js, processed, processed.Subject(org, dev), func(_ int, id string, at time.Time) (*nats.Msg, error) {
		data, err := proto.Marshal(&envelopev1.RawEnvelope{OrganizationId: org, DeviceId: dev, Payload: sample, ReceivedAt: timestamppb.New(at)})
		return &nats.Msg{Subject: raw.Subject(org, dev), Data: data, Header: nats.Header{jetstream.MsgIDHeader: {id}}}, err
	}}
	return Suite{
		Name: "against", About: "raw envelope due → processed envelope at a subscriber of " + nc.ConnectedUrlRedacted() + ", open loop",
		Metrics: []Metric{Rate, P50, P90, P99, P999, Max},
		Cases:   []Case{{fmt.Sprintf("%d/s for %v", rate, d), func(ctx context.Context, r *Round) error { return t.load(ctx, r, rate, d) }}},
	}, done, nil
}
