package main

import (
	"context"
	"encoding/binary"
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
	mqtt                          int // of the messages
	messages, rows, dead, wrong   int
	lost, doubled                 []key
	where                         []string // of what is lost or doubled
	devices, devicesLost          int
	events, eventsLost            int
	eventsDoubled, reads, readBad int
}

// drainTime is how long the pipeline has, after the last fault, to be done with
// everything.
const drainTime = 2 * time.Minute

// judge waits until everything that was sent is there, told apart by device and
// number (an MQTT message may have two envelopes, which must not hide that another
// has none), and compares what was acknowledged with
// what there is. An error names the broken promise.
func judge(ctx context.Context, w *world, l *load) (verdict, error) {
	v := verdict{messages: l.sent(), mqtt: int(l.mqtt.acked), devices: len(l.devices)}
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
	if suspects := append(append([]key(nil), v.lost...), v.doubled...); len(suspects) > 0 {
		v.where = whereabouts(ctx, w, suspects)
	}
	return v, errors.Join(err, v.broken())
}

// broken names the first promise that was broken.
func (v *verdict) broken() error {
	for _, p := range []struct {
		count int
		what  string
	}{
		{len(v.lost), "acknowledged envelopes are lost"},
		{len(v.doubled), "envelopes are more than one row"},
		{v.wrong, "rows hold something else than was sent"},
		{v.dead, "good envelopes are dead letters"},
		{v.devicesLost, "acknowledged devices are lost"},
		{v.eventsLost, "changes are not among the events, or not in the order of the commits"},
		{v.eventsDoubled, "events are there twice"},
		{v.readBad, "answers did not hold what was acknowledged before"},
	} {
		if p.count > 0 {
			return fmt.Errorf("%d %s", p.count, p.what)
		}
	}
	return nil
}

// number is what a payload of the load holds.
func number(payload []byte) (uint64, error) {
	if len(payload) < 4 {
		return 0, errors.New("the payload is not one of the load")
	}
	return uint64(binary.BigEndian.Uint32(payload)), nil
}

func (v *verdict) countRows(ctx context.Context, w *world, l *load) error {
	rows, err := w.db.Query(ctx, `SELECT end_device_id, if(end_device_id = ?, '', envelope_id) AS id, toUInt64(data.n.:Float64) AS n, count() FROM processed_envelopes FINAL GROUP BY end_device_id, id, n`, l.mqtt.device)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says more
	seen := map[key]bool{}
	for rows.Next() {
		var k key
		var id string
		var times uint64
		if err := rows.Scan(&k.device, &id, &k.n, &times); err != nil {
			return err
		}
		if k.device != l.mqtt.device && (k.device != l.device || id != l.prefix+strconv.FormatUint(k.n, 10)) {
			v.wrong++
			continue
		}
		seen[k] = true
		v.rows += int(times)
		if times > 1 {
			v.doubled = append(v.doubled, k)
		}
	}
	for _, sent := range []struct {
		device string
		count  uint64
	}{{l.device, l.next.Load()}, {l.mqtt.device, l.mqtt.acked}} {
		for n := range sent.count {
			if k := (key{sent.device, n + 1}); !seen[k] {
				v.lost = append(v.lost, k)
			}
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
