package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	"ponix/runtime/deadletter"
	"ponix/runtime/wire"
)

// verdict is what became of the load.
type verdict struct {
	mqtt                                       int // of the messages
	messages, rows, lost, doubled, dead, wrong int
	devices, devicesLost                       int
	events, eventsLost, eventsDoubled          int
	stall                                      time.Duration
}

// drainTime is how long the pipeline has, after the last fault, to be done with
// everything.
const drainTime = 2 * time.Minute

// judge waits until everything that was sent is there, told apart by device and
// number (an MQTT message may have two envelopes, which must not hide that another
// has none), and compares what was acknowledged with
// what there is. An error names the broken promise.
func judge(ctx context.Context, w *world, l *load) (verdict, error) {
	v := verdict{messages: l.sent(), mqtt: int(l.mqtt.acked), stall: l.stall, devices: len(l.devices)}
	for end := time.Now().Add(drainTime); time.Now().Before(end); {
		var n uint64
		err := w.db.QueryRow(ctx, "SELECT uniqExact(end_device_id, data.n.:Float64) FROM processed_envelopes").Scan(&n)
		if err == nil && int(n) >= v.messages {
			break
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return v, err
		}
	}
	err := errors.Join(v.countRows(ctx, w, l), v.countLetters(ctx, w), v.countEvents(ctx, w, l))
	v.countDevices(ctx, w, l)
	switch {
	case err != nil:
		return v, err
	case v.lost > 0:
		return v, fmt.Errorf("%d acknowledged envelopes are lost", v.lost)
	case v.doubled > 0:
		return v, fmt.Errorf("%d envelopes are more than one row", v.doubled)
	case v.wrong > 0:
		return v, fmt.Errorf("%d rows hold something else than was sent", v.wrong)
	case v.dead > 0:
		return v, fmt.Errorf("%d good envelopes are dead letters", v.dead)
	case v.devicesLost > 0:
		return v, fmt.Errorf("%d acknowledged devices are lost", v.devicesLost)
	case v.eventsLost > 0:
		return v, fmt.Errorf("%d changes are not among the events, or not in the order of the commits", v.eventsLost)
	case v.eventsDoubled > 0:
		return v, fmt.Errorf("%d events are there twice", v.eventsDoubled)
	}
	return v, nil
}

func (v *verdict) countRows(ctx context.Context, w *world, l *load) error {
	rows, err := w.db.Query(ctx, `SELECT end_device_id, if(end_device_id = ?, '', envelope_id) AS id, toUInt64(data.n.:Float64) AS n, count() FROM processed_envelopes FINAL GROUP BY end_device_id, id, n`, l.mqtt.device)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says more
	seen, seenMQTT := map[uint64]bool{}, map[uint64]bool{}
	for rows.Next() {
		var device, id string
		var n, times uint64
		if err := rows.Scan(&device, &id, &n, &times); err != nil {
			return err
		}
		switch {
		case device == l.mqtt.device:
			seenMQTT[n] = true
		case id == l.prefix+strconv.FormatUint(n, 10):
			seen[n] = true
		default:
			v.wrong++
			continue
		}
		v.rows += int(times)
		if times > 1 {
			v.doubled++
		}
	}
	for n := range l.next.Load() {
		if !seen[n+1] {
			w.log.Warn("lost", "envelope", l.prefix+strconv.FormatUint(n+1, 10))
			v.lost++
		}
	}
	for n := range l.mqtt.acked {
		if !seenMQTT[n+1] {
			w.log.Warn("lost", "mqtt", n+1)
			v.lost++
		}
	}
	return rows.Err()
}

func (v *verdict) countLetters(ctx context.Context, w *world) error {
	q, err := deadletter.Open(ctx, w.js, streams.Config{}.DeadLetters().Name)
	if err != nil {
		return err
	}
	return q.Each(ctx, deadletter.Filter{}, func(l deadletter.Letter) error {
		v.dead++
		w.log.Warn("dead letter", "reason", l.Reason, "error", l.Error)
		return nil
	})
}

func (v *verdict) countDevices(ctx context.Context, w *world, l *load) {
	devices := enddevicev1.NewEndDeviceServiceClient(wire.Client(w.nc))
	for id, name := range l.devices {
		got, err := devices.GetEndDevice(ctx, &enddevicev1.GetEndDeviceRequest{DeviceId: id})
		if err != nil || got.EndDevice.Name != name {
			w.log.Warn("device", "id", id, "error", err)
			v.devicesLost++
		}
	}
}
