package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// key tells what was sent apart: a device numbers its envelopes.
type key struct {
	device string
	n      uint64
}

// told is how many missing envelopes are told of singly.
const told = 20

// whereabouts tells, for each of keys, where it was seen on its way and what the
// consumer of that place has done with it: what was lost, where, by whom.
func whereabouts(ctx context.Context, w *world, keys []key) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found := map[key][]string{}
	for _, k := range keys[:min(len(keys), told)] {
		found[k] = nil
	}
	var out []string
	config := streams.Config{Raw: "raw_envelopes", Processed: "processed_envelopes"}
	for _, s := range []struct {
		streams.Stream
		key func([]byte) (key, error)
	}{
		{config.RawEnvelopes(), rawKey},
		{config.ProcessedEnvelopes(), processedKey},
		{config.DeadLetters(), rawKey}, // whose payload is that of the raw envelope, unless ClickHouse refused the row
	} {
		state, err := seen(ctx, w.js, s.Stream, s.key, found)
		if err != nil {
			state += " not read to its end: " + err.Error()
		}
		out = append(out, s.Name+": "+state)
	}
	for k, places := range found {
		var rows uint64
		err := w.db.QueryRow(ctx, "SELECT count() FROM processed_envelopes WHERE end_device_id = ? AND toUInt64(data.n.:Float64) = ?", k.device, k.n).Scan(&rows)
		if err != nil {
			places = append(places, "ClickHouse does not tell: "+err.Error())
		} else if rows > 0 {
			places = append(places, fmt.Sprintf("ClickHouse, %d rows, which came after they were counted", rows))
		}
		if len(places) == 0 {
			places = []string{"nowhere"}
		}
		out = append(out, fmt.Sprintf("envelope %d of %s: %s", k.n, k.device, strings.Join(places, "; ")))
	}
	return out
}

// seen reads a whole stream, and adds to found what it holds of it. It returns how
// far the stream and its consumers are.
func seen(ctx context.Context, js jetstream.JetStream, spec streams.Stream, keyOf func([]byte) (key, error), found map[key][]string) (string, error) {
	s, err := js.Stream(ctx, spec.Name)
	if err != nil {
		return "", err
	}
	info := s.CachedInfo()
	state := fmt.Sprintf("%d messages, %d to %d", info.State.Msgs, info.State.FirstSeq, info.State.LastSeq)
	settled := func(uint64) string { return "" }
	for _, c := range spec.Consumers {
		consumer, err := s.Consumer(ctx, c.Durable)
		if err != nil {
			return state, err
		}
		i := consumer.CachedInfo()
		state += fmt.Sprintf("; %s: delivered up to %d, acknowledged up to %d, %d waiting for an acknowledgement, %d pending", c.Durable, i.Delivered.Stream, i.AckFloor.Stream, i.NumAckPending, i.NumPending)
		settled = func(sequence uint64) string {
			switch {
			case sequence <= i.AckFloor.Stream:
				return ", acknowledged by " + c.Durable
			case sequence <= i.Delivered.Stream:
				return ", delivered to " + c.Durable
			}
			return ", not delivered yet"
		}
	}
	if info.State.Msgs == 0 {
		return state, nil
	}
	o, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return state, err
	}
	it, err := o.Messages()
	if err != nil {
		return state, err
	}
	defer it.Stop()
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return state, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return state, err
		}
		if k, err := keyOf(msg.Data()); err == nil {
			if _, wanted := found[k]; wanted {
				found[k] = append(found[k], fmt.Sprintf("%s %d, id %s, at %s%s", spec.Name, meta.Sequence.Stream,
					msg.Headers().Get(jetstream.MsgIDHeader), meta.Timestamp.Format("15:04:05.000"), settled(meta.Sequence.Stream)))
			}
		}
		if meta.Sequence.Stream >= info.State.LastSeq || meta.NumPending == 0 {
			return state, nil
		}
	}
}

func rawKey(data []byte) (key, error) {
	e := &envelopev1.RawEnvelope{}
	if err := proto.Unmarshal(data, e); err != nil {
		return key{}, err
	}
	n, err := number(e.Payload)
	return key{e.DeviceId, n}, err
}

func processedKey(data []byte) (key, error) {
	e := &envelopev1.ProcessedEnvelope{}
	if err := proto.Unmarshal(data, e); err != nil {
		return key{}, err
	}
	n, ok := e.Data.GetFields()["n"]
	if !ok {
		return key{}, errors.New("no n in it")
	}
	return key{e.EndDeviceId, uint64(n.GetNumberValue())}, nil
}
