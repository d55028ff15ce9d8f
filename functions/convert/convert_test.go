package convert_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/convert"
	"ponix/functions/internal/conversion"
	"ponix/functions/internal/functiontest"
	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

var config = streams.Config{Raw: "raw_envelopes", Processed: "processed_envelopes", Replicas: 1, MaxBytes: 1 << 26, AckWait: 30 * time.Second, ReplayWindow: time.Hour}

// env is the function beside a registry of devices that the test fills.
type env struct {
	envelopev1.ConversionServiceClient
	*registry
	js jetstream.JetStream
	h  *runtime.Host
}

func start(t *testing.T, cache convert.Cache) *env {
	t.Helper()
	return startOn(t, runtimetest.NATS(t), cache, conversion.Limits{})
}

func startOn(t *testing.T, nc *nats.Conn, cache convert.Cache, limits conversion.Limits) *env {
	t.Helper()
	e := begin(t, nc, cache, limits)
	e.awaitFollowers(t)
	return e
}

func begin(t *testing.T, nc *nats.Conn, cache convert.Cache, limits conversion.Limits) *env {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	converter, err := conversion.New(limits)
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{devices: map[string]string{}, deleted: map[string]bool{}, asked: map[string]int{}}
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: config, Logger: slog.New(slog.DiscardHandler)},
		runtime.Func("end-device",
			runtime.Endpoint(enddevicev1.EndDeviceService_GetEndDevice_FullMethodName, r.visible),
			runtime.Endpoint(enddevicev1.EndDeviceService_BatchGetEndDevices_FullMethodName, r.batch)),
		runtime.Func("organization", runtime.Endpoint(organizationv1.OrganizationService_GetOrganization_FullMethodName, r.organization)),
		convert.New(js, config, converter, convert.NewDevices(wire.NewClient(nc), cache)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &env{envelopev1.NewConversionServiceClient(wire.NewClient(nc)), r, js, h}
}

var standard = convert.Cache{Size: 100, TTL: time.Minute}

// publish puts an envelope of a device on the stream; the device's id begins
// with its organization.
func (e *env) publish(t *testing.T, raw *envelopev1.RawEnvelope) {
	t.Helper()
	data, err := proto.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.x.y", Data: data}); err != nil {
		t.Fatal(err)
	}
}

// result waits for the newest processed envelope of a device.
func (e *env) result(t *testing.T, device string) *envelopev1.ProcessedEnvelope {
	t.Helper()
	got := &envelopev1.ProcessedEnvelope{}
	org, _, _ := strings.Cut(device, "-")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		s, err := e.js.Stream(t.Context(), "processed_envelopes")
		if err != nil {
			return err
		}
		m, err := s.GetLastMsgForSubject(t.Context(), "processed_envelopes."+org+"."+device)
		if err != nil {
			return err
		}
		return proto.Unmarshal(m.Data, got)
	})
	return got
}

// reasons lists the dead letters by device.
func (e *env) wantDead(t *testing.T, want map[string]string) {
	t.Helper()
	q, err := deadletter.Open(t.Context(), e.js, "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		got := map[string]string{}
		if err := q.Each(t.Context(), deadletter.Filter{}, func(l deadletter.Letter) error {
			var raw envelopev1.RawEnvelope
			whole, err := q.Get(t.Context(), l.Number)
			if err != nil {
				return err
			}
			if err := proto.Unmarshal(whole.Payload, &raw); err != nil {
				return err
			}
			got[raw.DeviceId] = l.Reason
			return nil
		}); err != nil {
			return err
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("dead are %v, want %v", got, want)
		}
		return nil
	})
}

func TestConvert(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	at := time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.UTC)
	e.set("o-1", `{"t": input.i16be(2) / 10, "who": device.name + " of " + device.organization_id, "at": received_at}`)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1", Payload: []byte{1, 0x67, 1, 0x10}, ReceivedAt: timestamppb.New(at)})
	got := e.result(t, "o-1")
	f := got.Data.GetFields()
	if f["t"].GetNumberValue() != 27 || f["who"].GetStringValue() != "thermometer of o" || f["at"].GetStringValue() != "2026-05-04T03:02:01.123456Z" {
		t.Errorf("data is %v", got.Data)
	}
	if got.EndDeviceId != "o-1" || got.OrganizationId != "o" || !got.OccurredAt.AsTime().Equal(at.Truncate(time.Microsecond)) || got.EnvelopeId == "" || got.ProcessedAt == nil {
		t.Errorf("got %v", got)
	}
	e.set("o-2", `{"big": 9007199254740993}`)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-2"})
	if got := e.result(t, "o-2"); string(got.DataJson) != `{"big":9007199254740993}` || time.Since(got.OccurredAt.AsTime()) > time.Minute {
		t.Errorf("got %v", got)
	}
}

func TestFates(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.deleted["gone"] = true
	want := map[string]string{}
	for device, c := range map[string]struct{ expression, reason string }{
		"o-empty":    {"", "NO_EXPRESSION"},
		"o-fails":    {`{"x": input.u8(7)}`, "EVALUATION_FAILED"},
		"o-list":     {`json_decode(string(input))`, "RESULT_NOT_A_MAP"},
		"o-costs":    {`{"n": lists.range(2000000).size()}`, "COST_LIMIT_EXCEEDED"},
		"o-broken":   {`{"n": `, "INVALID_EXPRESSION"},
		"other-1":    {`{}`, "ORGANIZATION_MISMATCH"},
		"gone-1":     {`{}`, "ORGANIZATION_DELETED"},
		"o-infinite": {`{"x": 1.0 / 0.0}`, "RESULT_INVALID"},
	} {
		e.set(device, c.expression)
		org, _, _ := strings.Cut(device, "-")
		if org == "other" {
			org = "o"
		}
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: org, DeviceId: device, Payload: []byte("[]")})
		want[device] = c.reason
	}
	e.publish(t, &envelopev1.RawEnvelope{DeviceId: "o-1"})
	want["o-1"] = "INVALID_ENVELOPE"
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-2", ReceivedAt: &timestamppb.Timestamp{Nanos: -1}})
	want["o-2"] = "INVALID_ENVELOPE"
	e.wantDead(t, want)
}

// TestUnknownDeviceMayArrive sends before the device exists.
func TestUnknownDeviceMayArrive(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if e.times("o-1") == 0 {
			return fmt.Errorf("nobody asks")
		}
		return nil
	})
	e.set("o-1", `{"late": true}`)
	if got := e.result(t, "o-1"); !got.Data.Fields["late"].GetBoolValue() {
		t.Errorf("got %v", got)
	}
	e.wantDead(t, map[string]string{})
}

// TestRegistryAway holds that nothing dies of what is only unavailable, nor of an
// answer that is about the call.
func TestRegistryAway(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.InvalidArgument} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			e := start(t, standard)
			e.set("o-1", `{"ok": true}`)
			e.breakWith(runtime.Error(code, "TROUBLE", "there is trouble"))
			e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
			runtimetest.Eventually(t, 20*time.Second, func() error {
				if n := e.times("o-1"); n < 2 {
					return fmt.Errorf("asked %d times", n)
				}
				return nil
			})
			e.breakWith(nil)
			e.result(t, "o-1")
			e.wantDead(t, map[string]string{})
		})
	}
}

// TestPatienceAfterTrouble holds that deliveries while nobody could be asked leave an
// unknown device its time.
func TestPatienceAfterTrouble(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.breakWith(runtime.Error(codes.Unavailable, "TROUBLE", "there is trouble"))
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	asked := func(n int) {
		t.Helper()
		runtimetest.Eventually(t, 40*time.Second, func() error {
			if got := e.times("o-1"); got < n {
				return fmt.Errorf("asked %d times of %d", got, n)
			}
			return nil
		})
	}
	asked(6) // as often as a device that is unknown from the beginning
	e.breakWith(nil)
	asked(7)
	e.set("o-1", `{"late": true}`)
	asked(8)
	e.result(t, "o-1")
	e.wantDead(t, map[string]string{})
}

// TestKnownDevicesGoOn holds that a device that is known needs nobody to answer,
// neither with an error nor at all.
func TestKnownDevicesGoOn(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(*env, <-chan struct{}){
		"unavailable": func(e *env, _ <-chan struct{}) {
			e.breakWith(runtime.Error(codes.Unavailable, "POSTGRES_UNAVAILABLE", "PostgreSQL is away"))
		},
		"silent": func(e *env, over <-chan struct{}) { e.hold(func(context.Context) { <-over }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, convert.Cache{Size: 10, TTL: 20 * time.Millisecond})
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			e.set("o-1", `{"n": input.u8(0)}`)
			e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1", Payload: []byte{0}})
			e.result(t, "o-1")
			runtimetest.Eventually(t, 3*time.Second, func() error { // what is known gets too old
				e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1", Payload: []byte{0}})
				if n := e.times("o-1"); n < 2 {
					return fmt.Errorf("asked %d times", n)
				}
				return nil
			})
			trouble(e, over)
			for i := byte(1); i < 4; i++ {
				runtimetest.Eventually(t, 3*time.Second, func() error {
					e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1", Payload: []byte{i}})
					if n := e.result(t, "o-1").Data.Fields["n"].GetNumberValue(); n != float64(i) {
						return fmt.Errorf("the last result is %v", n)
					}
					return nil
				})
			}
			e.wantDead(t, map[string]string{})
		})
	}
}

// TestDevicesAreRemembered holds that a device that is known is not asked for, but
// again before a message dies of what is remembered.
func TestDevicesAreRemembered(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.set("o-1", `{"n": input.u8(0)}`)
	const batch = 20
	published := uint64(0)
	// An event with which start has found its followers may come after the first batch.
	runtimetest.Eventually(t, 10*time.Second, func() error {
		asked := e.times("o-1")
		for i := range batch {
			e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1", Payload: []byte{byte(i)}})
		}
		published += batch
		runtimetest.Eventually(t, 10*time.Second, func() error {
			s, err := e.js.Stream(t.Context(), "processed_envelopes")
			if err == nil && s.CachedInfo().State.Msgs < published {
				err = fmt.Errorf("%d so far", s.CachedInfo().State.Msgs)
			}
			return err
		})
		if n := e.times("o-1"); n != asked {
			return fmt.Errorf("asked %d times for %d messages", n-asked, batch)
		}
		return nil
	})
	if e.times("o-1") == 0 {
		t.Error("never asked")
	}
	// The expression is mended; old knowledge of it decides no fate.
	e.set("o-1", `{"n": "mended"}`)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		if got := e.result(t, "o-1"); got.Data.Fields["n"].GetStringValue() != "mended" {
			return fmt.Errorf("got %v", got.Data)
		}
		return nil
	})
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.set("o-1", `cayenne_lpp_decode(input)`)
	e.set("o-2", ``)
	payload := []byte{1, 0x67, 1, 0x10}
	byDevice := &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: "o-1"}, Payload: payload}
	byExpression := func(expression string) *envelopev1.ConvertPayloadRequest {
		return &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_Expression{Expression: expression}, Payload: payload}
	}
	for _, req := range []*envelopev1.ConvertPayloadRequest{byDevice, byExpression("cayenne_lpp_decode(input)")} {
		resp, err := e.ConvertPayload(t.Context(), req)
		if err != nil || resp.Data.Fields["temperature_1"].GetNumberValue() != 27.2 {
			t.Errorf("got %v, %v", resp, err)
		}
	}
	e.set("o-broken", `{"n": `)
	large := byExpression("{'x': 1}")
	large.Payload = make([]byte, 256<<10+1)
	for _, tt := range []struct {
		reason string
		fields []string
		req    *envelopev1.ConvertPayloadRequest
	}{
		{"EVALUATION_FAILED", nil, byExpression("{'x': input.u8(4)}")},
		{"INVALID_EXPRESSION", []string{"expression"}, byExpression("{'x': nothing}")},
		{"PAYLOAD_TOO_LARGE", []string{"payload"}, large},
		{"NO_EXPRESSION", []string{"expression"}, byExpression("")},
	} {
		_, err := e.ConvertPayload(t.Context(), tt.req)
		functiontest.WantError(t, err, codes.InvalidArgument, tt.reason, tt.fields...)
	}
	for id, reason := range map[string]string{"o-broken": "INVALID_EXPRESSION", "o-2": "NO_EXPRESSION"} {
		_, err := e.ConvertPayload(t.Context(), &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: id}})
		functiontest.WantError(t, err, codes.FailedPrecondition, reason) // nothing in the request is wrong
	}
	_, err := e.ConvertPayload(t.Context(), &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: "o-3"}})
	functiontest.WantError(t, err, codes.NotFound, "UNKNOWN_DEVICE")
	_, err = e.ConvertPayload(t.Context(), &envelopev1.ConvertPayloadRequest{Payload: payload})
	functiontest.WantInvalid(t, err, "source")
}

// TestDryRunOfADeletedOrganization has it end as the pipeline does.
func TestDryRunOfADeletedOrganization(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.deleted["gone"] = true
	e.set("gone-1", `{"a": 1}`)
	_, err := e.ConvertPayload(t.Context(), &envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: "gone-1"}})
	functiontest.WantError(t, err, codes.FailedPrecondition, "ORGANIZATION_DELETED")
}
