package convert_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/grpc/codes"

	"ponix/functions/convert"
	"ponix/functions/internal/conversion"
	"ponix/functions/internal/functiontest"
	"ponix/nats/streams"
	authv1 "ponix/proto/ponix/auth/v1"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
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

// TestRegistryAwayWhileAskedAgain has nobody to ask whether a device was mended whose expression
// fails: the envelope does not die of that, nor of what was known.
func TestRegistryAwayWhileAskedAgain(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	e := startOn(t, nc, standard, conversion.Limits{})
	e.set("o-1", `{"n": input.u8(0)}`)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1", Payload: []byte{1}})
	e.result(t, "o-1")
	time.Sleep(1100 * time.Millisecond) // what is known for longer than a second decides no fate
	e.breakWith(runtime.Error(codes.Unavailable, "TROUBLE", "there is trouble"))
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	awaitRetry(t, nc)
	e.breakWith(nil)
	e.wantDead(t, map[string]string{"o-1": "EVALUATION_FAILED"})
}

// TestKnownDeviceIsRemoved has a device go without an event: when what is known of it is too old,
// it is unknown, and its envelopes are not converted.
func TestKnownDeviceIsRemoved(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	e := startOn(t, nc, convert.Cache{Size: 10, TTL: time.Nanosecond}, conversion.Limits{})
	e.set("o-1", `{}`)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	e.result(t, "o-1")
	e.mu.Lock()
	delete(e.devices, "o-1")
	e.mu.Unlock()
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	awaitRetry(t, nc)
}

// TestDryRunIsUpToDate has an expression change without an event: a dry run has the new one.
func TestDryRunIsUpToDate(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	req := &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: "o-1"}}
	for n := range 3 {
		e.set("o-1", fmt.Sprintf(`{"n": %d}`, n))
		if resp, err := e.ConvertPayload(t.Context(), req); err != nil || resp.Data.Fields["n"].GetNumberValue() != float64(n) {
			t.Errorf("version %d: %v, %v", n, resp, err)
		}
	}
}

// TestDryRunOfADeviceThatCannotBeSeen holds that no tenant has a payload converted by a device of
// which nobody could tell whether it is the tenant's.
func TestDryRunOfADeviceThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.set("o-1", `{"secret": 1}`)
	e.mu.Lock()
	e.hidden = runtime.Error(codes.Unavailable, "TROUBLE", "there is trouble")
	e.mu.Unlock()
	other := wire.WithPrincipal(t.Context(), wire.Principal{Subject: "eve", Organization: "other", Role: authv1.Role_ROLE_MEMBER})
	req := &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: "o-1"}}
	resp, err := e.ConvertPayload(other, req)
	functiontest.WantError(t, err, codes.Unavailable, "TROUBLE")
	if resp != nil {
		t.Errorf("got %v", resp)
	}
}

// TestUnreadableEvent is of any device: everything is forgotten.
func TestUnreadableEvent(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	for _, subject := range []string{"end_devices.update", "organizations.update"} {
		e.set("o-1", `{}`)
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		e.result(t, "o-1")
		before := e.times("o-1")
		if _, err := e.js.Publish(t.Context(), subject, []byte("\xff")); err != nil {
			t.Fatal(err)
		}
		runtimetest.Eventually(t, 10*time.Second, func() error {
			e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
			if e.times("o-1") == before {
				return errors.New("nobody asks")
			}
			return nil
		})
	}
}
