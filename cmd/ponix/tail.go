package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/config"
	"ponix/runtime/wire"
)

type tailCommand struct {
	config.NATS
	streams.Config
	format
	Organization string        `help:"Only this organization."`
	Device       string        `help:"Only this device."`
	Since        time.Duration `help:"Begin with what was processed this long ago."`
}

func (c *tailCommand) Run(e *env) error {
	if err := cmp.Or(idFlag("--organization", c.Organization), idFlag("--device", c.Device)); err != nil {
		return err
	}
	if c.Since < 0 {
		return &usageError{errors.New("--since must not be negative")}
	}
	err := e.onNATS(c.NATS, "ponix tail", c.run)
	if e.ctx.Err() != nil { // Ctrl-C is how it ends
		return nil
	}
	return err
}

func (c *tailCommand) run(e *env, nc *nats.Conn) error {
	js, err := c.JetStream(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(e.ctx, c.ProcessedEnvelopes().Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("there is no stream %s: ponix serve and ponix streams make it", c.ProcessedEnvelopes().Name)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", c.ProcessedEnvelopes().Name, err)
	}
	from := jetstream.OrderedConsumerConfig{ // not what is new: that begins again with each connection
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: stream.CachedInfo().State.LastSeq + 1,
		FilterSubjects: []string{c.ProcessedEnvelopes().Subject(cmp.Or(c.Organization, "*"), cmp.Or(c.Device, "*"))},
	}
	if c.Since > 0 {
		from.DeliverPolicy, from.OptStartSeq, from.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, new(time.Now().Add(-c.Since))
	}
	consumer, err := stream.OrderedConsumer(e.ctx, from)
	if err != nil {
		return fmt.Errorf("stream %s: %w", c.ProcessedEnvelopes().Name, err)
	}
	it, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer it.Stop()
	for {
		msg, err := it.Next(jetstream.NextContext(e.ctx))
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		var env envelopev1.ProcessedEnvelope
		err = wire.Unmarshal(msg.Data(), &env)
		var data json.RawMessage
		if err == nil {
			data, err = dataOf(&env)
		}
		if err != nil { // store makes a dead letter of it
			e.log.Warn("not a processed envelope", "subject", msg.Subject(), "error", err)
			continue
		}
		if err := c.show(e.out, &env, data); err != nil {
			return err
		}
	}
}

// dataOf is an envelope's data as JSON. Its error is that of one that cannot be shown.
func dataOf(env *envelopev1.ProcessedEnvelope) (json.RawMessage, error) {
	for _, at := range []*timestamppb.Timestamp{env.OccurredAt, env.ProcessedAt} {
		if err := at.CheckValid(); at != nil && err != nil {
			return nil, err
		}
	}
	if len(env.DataJson) == 0 {
		return protojson.Marshal(env.Data)
	}
	if !json.Valid(env.DataJson) {
		return nil, errors.New("data_json is no JSON")
	}
	return env.DataJson, nil
}

func (c *tailCommand) show(out *output, env *envelopev1.ProcessedEnvelope, data json.RawMessage) error {
	if c.Format == "json" {
		return out.json(map[string]any{
			"occurred_at": env.OccurredAt.AsTime(), "processed_at": env.ProcessedAt.AsTime(),
			"organization_id": env.OrganizationId, "end_device_id": env.EndDeviceId, "envelope_id": env.EnvelopeId, "data": data,
		})
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s\n", out.paint(dim, env.OccurredAt.AsTime().Format("2006-01-02 15:04:05.000000")), out.paint(cyan, plainly(env.EndDeviceId)), plainly(string(data)))
	return err
}
