package convert_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"ponix/functions/internal/conversion"
	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestGivenBackByOthers has instances that stop give an envelope back, more often than an
// unknown device's is tried: it has its half minute nevertheless.
func TestGivenBackByOthers(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, config.RawEnvelopes()); err != nil {
		t.Fatal(err)
	}
	(&env{js: js}).publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		msg, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	startOn(t, nc, standard, conversion.Limits{})
	awaitRetry(t, nc)
}

// TestSlowIsTriedAgain holds that no envelope dies of one evaluation that was too slow:
// the machine may have been busy.
func TestSlowIsTriedAgain(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	e := startOn(t, nc, standard, conversion.Limits{Time: time.Nanosecond})
	const slow = `{"n": lists.range(200).map(x, x * 2)}`
	e.set("o-1", slow)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	awaitRetry(t, nc)
	e.set("o-1", `{"n": 1}`)
	e.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "o-1"})
	e.result(t, "o-1")
	e.set("o-2", slow)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-2"})
	e.wantDead(t, map[string]string{"o-2": "TIME_LIMIT_EXCEEDED"})
}

// awaitRetry waits until convert tries an envelope again. None may have died.
func awaitRetry(t *testing.T, nc *nats.Conn) {
	t.Helper()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		reply, err := nc.Request("$SRV.STATS.convert", nil, time.Second)
		if err != nil {
			return err
		}
		var stats micro.Stats
		if err := json.Unmarshal(reply.Data, &stats); err != nil {
			return err
		}
		for _, e := range stats.Endpoints {
			var data runtime.Data
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return err
			}
			if data.DeadLetters > 0 {
				t.Fatal("it is dead at once")
			}
			if data.Retried > 0 {
				return nil
			}
		}
		return errors.New("it was not tried")
	})
}
