package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/micro"

	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	"ponix/runtime/deadletter"
	"ponix/runtime/wire"
)

// verdict is what became of the load.
type verdict struct {
	mqtt                        int // of the messages
	messages, rows, dead, wrong int
	unsettled                   int
	lost, doubled               []key
	where                       []string // of what is lost or doubled
	devices, devicesLost        int
	events, eventsLost          int
	eventsDoubled               int
	reads                       int
	readWrong, leaks, versions  []string
}

// drainTime is how long the pipeline has, after the last fault, to be done with
// everything.
const drainTime = 2 * time.Minute

// judge waits until everything that was sent is there, told apart by device and
// number (an MQTT message may have two envelopes, which must not hide that another
// has none), and compares what was acknowledged with
// what there is. An error names the broken promise.
func judge(ctx context.Context, w *world, l *load, before levels) (verdict, error) {
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
	err := errors.Join(v.countUnsettled(ctx, w), v.countRows(ctx, w, l), v.countLetters(ctx, w), v.countEvents(ctx, w, l), v.countDevices(ctx, w, l), v.checkVersions(w))
	l.readers.last(ctx)
	v.reads, v.readWrong = l.readers.answers, l.readers.wrong
	if err == nil {
		v.leaks, err = settled(ctx, w, before)
	}
	if suspects := slices.Concat(v.lost, v.doubled); len(suspects) > 0 {
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
		{v.wrong, "rows hold something else than was sent"}, // each of which is lost, besides
		{len(v.lost), "acknowledged envelopes are lost"},
		{len(v.doubled), "envelopes are more than one row"},
		{v.dead, "good envelopes are dead letters"},
		{v.unsettled, "messages are not settled, and come again for ever"},
		{v.devicesLost, "acknowledged devices are lost"},
		{v.eventsLost, "changes are not among the events, or not in the order of the commits"},
		{v.eventsDoubled, "events are there twice"},
		{len(v.readWrong), "answers did not hold what was acknowledged before"},
		{len(v.versions), "services are not of the version that was rolled out"},
		{len(v.leaks), "levels did not come down again after the faults"},
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
	// By MQTT, nobody but Ponix knows the id and the time.
	rows, err := w.db.Query(ctx, `SELECT end_device_id, organization_id, if(end_device_id = ?, '', envelope_id) AS id, if(end_device_id = ?, fromUnixTimestamp64Micro(0), occurred_at) AS at, toUInt64(data.n.:Float64) AS n, toJSONString(data) AS text, count() FROM processed_envelopes FINAL GROUP BY end_device_id, organization_id, id, at, n, text`, l.mqtt.device, l.mqtt.device)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says more
	seen := map[key]bool{}
	for rows.Next() {
		var k key
		var r row
		var times uint64
		if err := rows.Scan(&k.device, &r.organization, &r.id, &r.at, &k.n, &r.text, &times); err != nil {
			return err
		}
		if !l.sentAs(k, r) {
			v.wrong++
			continue
		}
		v.rows += int(times)
		twice := seen[k]
		seen[k] = true
		if times > 1 || twice {
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

// row is what a row holds beside its key.
type row struct {
	organization, id, text string
	at                     time.Time
}

// sentAs tells whether an envelope was sent that becomes such a row.
func (l *load) sentAs(k key, r row) bool {
	if r.organization != l.organization || r.text != fmt.Sprintf(`{"n":%d}`, k.n) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return k.device == l.mqtt.device && k.n >= 1 && k.n <= l.mqtt.acked+1 || // the last may have come without its acknowledgement
		k.device == l.device && r.id == l.prefix+strconv.FormatUint(k.n, 10) && k.n < uint64(len(l.received)) && r.at.Equal(l.received[k.n])
}

// countUnsettled waits until every message of the pipeline is settled: what is a row and
// is not settled would come again for ever.
func (v *verdict) countUnsettled(ctx context.Context, w *world) error {
	config := streams.Config{Raw: "raw_envelopes", Processed: "processed_envelopes", Gateways: "gateways"}
	for end := time.Now().Add(drainTime); ; {
		v.unsettled = 0
		for _, s := range []streams.Stream{config.RawEnvelopes(), config.ProcessedEnvelopes(), config.GatewayEvents()} {
			for _, c := range s.Consumers {
				consumer, err := w.js.Consumer(ctx, s.Name, c.Durable)
				if err != nil {
					return err
				}
				i := consumer.CachedInfo()
				v.unsettled += i.NumAckPending + int(i.NumPending)
			}
		}
		if v.unsettled == 0 || time.Now().After(end) {
			return nil
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
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

// countDevices holds what PostgreSQL has, and what the function answers, to what
// was acknowledged.
func (v *verdict) countDevices(ctx context.Context, w *world, l *load) error {
	db, err := pgx.Connect(ctx, w.postgres.cluster.PostgresURL(""))
	if err != nil {
		return err
	}
	defer db.Close(ctx) //nolint:errcheck // it was only read from
	devices := enddevicev1.NewEndDeviceServiceClient(wire.NewClient(w.nc))
	for id, name := range l.names() {
		var stored string
		err := db.QueryRow(ctx, "SELECT name FROM end_devices WHERE id = $1", id).Scan(&stored)
		got, answer := devices.GetEndDevice(ctx, &enddevicev1.GetEndDeviceRequest{DeviceId: id})
		if err != nil || answer != nil || stored != name || got.EndDevice.Name != name {
			w.log.Warn("device", "id", id, "name", name, "stored", stored, "error", errors.Join(err, answer))
			v.devicesLost++
		}
	}
	return nil
}

// checkVersions asks every service for its version.
func (v *verdict) checkVersions(w *world) error {
	inbox := w.nc.NewRespInbox()
	answers, err := w.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer answers.Unsubscribe() //nolint:errcheck // the connection is closed soon
	if err := w.nc.PublishRequest("$SRV.PING.convert", inbox, nil); err != nil {
		return err
	}
	want := len(w.instances())
	for range want {
		m, err := answers.NextMsg(5 * time.Second)
		if err != nil {
			return fmt.Errorf("not all of %d instances answer: %w", want, err)
		}
		var ping micro.Ping
		if err := json.Unmarshal(m.Data, &ping); err != nil {
			return err
		}
		if ping.Version != w.version() {
			v.versions = append(v.versions, "version: "+ping.ID+" is of "+ping.Version)
		}
	}
	return nil
}
