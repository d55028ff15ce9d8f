package convert_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/convert"
	"ponix/functions/internal/conversion"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

func (e *env) event(t *testing.T, subject string, m proto.Message) {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.Publish(t.Context(), subject, data); err != nil {
		t.Fatal(err)
	}
}

// awaitFollowers returns when the function has handled an event of each stream
// that it follows: until then it may forget everything once more.
func (e *env) awaitFollowers(t *testing.T) {
	t.Helper()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		e.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "nobody"})
		e.event(t, "organizations.update", &organizationv1.Organization{Id: "nobody"})
		reply, err := e.js.Conn().Request("$SRV.STATS.convert", nil, time.Second)
		if err != nil {
			return err
		}
		var stats micro.Stats
		if err := json.Unmarshal(reply.Data, &stats); err != nil {
			return err
		}
		for _, s := range stats.Endpoints {
			if (s.Name == "end_devices" || s.Name == "organizations") && s.NumRequests == 0 {
				return fmt.Errorf("%s is not followed yet", s.Name)
			}
		}
		return nil
	})
}

// instance starts one more instance of convert.
func (e *env) instance(t *testing.T) {
	t.Helper()
	converter, err := conversion.New(conversion.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	nc := e.js.Conn()
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: config, Logger: slog.New(slog.DiscardHandler)},
		convert.New(e.js, config, converter, convert.NewDevices(wire.NewClient(nc), standard)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestEventsAreInForce holds that every instance forgets a device within a second of its
// event: both share the envelopes, and none has the old result.
func TestEventsAreInForce(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.instance(t)
	e.set("o-1", `{"version": 0}`)
	warm := func(version float64) {
		for range 100 {
			e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		}
		e.wantVersions(t, version, 100)
	}
	warm(0)
	for version := 1; version <= 3; version++ {
		e.set("o-1", fmt.Sprintf(`{"version": %d}`, version))
		e.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "o-1", OrganizationId: "o"})
		e.awaitHandled(t, 2)
		warm(float64(version))
	}
}

// awaitHandled waits until so many instances have handled each event of devices that is on the
// stream, and came after they began to follow it.
func (e *env) awaitHandled(t *testing.T, instances int) {
	t.Helper()
	runtimetest.Eventually(t, time.Second, func() error {
		s, err := e.js.Stream(t.Context(), "end_devices")
		if err != nil {
			return err
		}
		followers, delivered, handled := 0, uint64(0), 0
		for c := range s.ListConsumers(t.Context()).Info() {
			if c.Delivered.Stream == s.CachedInfo().State.LastSeq {
				followers, delivered = followers+1, delivered+c.Delivered.Consumer
			}
		}
		for _, stats := range e.stats(t, instances) {
			for _, of := range stats.Endpoints {
				if of.Name == "end_devices" {
					handled += of.NumRequests
				}
			}
		}
		if followers != instances || uint64(handled) != delivered {
			return fmt.Errorf("%d instances have got %d events, and handled %d", followers, delivered, handled)
		}
		return nil
	})
}

// stats are those of so many instances of convert.
func (e *env) stats(t *testing.T, instances int) []micro.Stats {
	t.Helper()
	nc := e.js.Conn()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // all have answered
	if err := nc.PublishRequest("$SRV.STATS.convert", inbox, nil); err != nil {
		t.Fatal(err)
	}
	all := make([]micro.Stats, instances)
	for i := range all {
		reply, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(reply.Data, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// wantVersions waits for n more results and holds each to a version.
func (e *env) wantVersions(t *testing.T, version float64, n int) {
	t.Helper()
	s, err := e.js.Stream(t.Context(), "processed_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	runtimetest.Eventually(t, 10*time.Second, func() error {
		info, err := s.Info(t.Context())
		if err != nil {
			return err
		}
		if last = info.State.LastSeq; last%uint64(n) != 0 || last != uint64(n)*(uint64(version)+1) {
			return fmt.Errorf("%d results", last)
		}
		return nil
	})
	for seq := last - uint64(n) + 1; seq <= last; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		got := &envelopev1.ProcessedEnvelope{}
		if err := proto.Unmarshal(m.Data, got); err != nil {
			t.Fatal(err)
		}
		if v := got.Data.Fields["version"].GetNumberValue(); v != version {
			t.Fatalf("result %d has version %v, want %v", seq, v, version)
		}
	}
}

// TestOrganizationIsShared holds that the organization of many devices is not asked
// for with each of them.
func TestOrganizationIsShared(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	const devices = 50
	for i := range devices {
		e.set(fmt.Sprintf("o-%d", i), `{"ok": true}`)
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: fmt.Sprintf("o-%d", i)})
	}
	for i := range devices {
		e.result(t, fmt.Sprintf("o-%d", i))
	}
	if n := e.times("o"); n < 1 || n >= devices { // again in each second that it takes
		t.Errorf("asked %d times for %d devices", n, devices)
	}
}

// TestOrganizationEvents holds that the devices of a deleted organization are
// forgotten, and after a TRUNCATE all.
func TestOrganizationEvents(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	e.set("o-1", `{"ok": true}`)
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	e.result(t, "o-1")
	e.mu.Lock()
	e.deleted["o"] = true
	e.mu.Unlock()
	e.wantFetch(t, "o-1", "organizations.update", &organizationv1.Organization{Id: "o", DeletedAt: timestamppb.Now()})
	for _, event := range []string{"end_devices.delete", "organizations.delete"} {
		e.wantFetch(t, "o-1", event, nil)
	}
}

// wantFetch publishes an event, and then envelopes until the device is asked for
// again.
func (e *env) wantFetch(t *testing.T, device, subject string, m proto.Message) {
	t.Helper()
	before := e.times(device)
	e.event(t, subject, m)
	runtimetest.Eventually(t, time.Second, func() error {
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: device})
		if e.times(device) == before {
			return fmt.Errorf("nobody asks")
		}
		return nil
	})
}

// TestStaleFetch holds that what was read before an event is not remembered
// after it.
func TestStaleFetch(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	reading, resume := make(chan struct{}), make(chan struct{})
	e.set("o-1", `{"version": 0}`)
	e.hold(func(context.Context) {
		close(reading)
		<-resume
	})
	e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
	<-reading // version 0 has been read, and is on its way
	e.hold(nil)
	e.set("o-1", `{"version": 1}`)
	e.event(t, "end_devices.update", &enddevicev1.EndDevice{DeviceId: "o-1", OrganizationId: "o"})
	runtimetest.Eventually(t, 10*time.Second, func() error {
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		if e.times("o-1") < 2 {
			return fmt.Errorf("the event has not arrived")
		}
		return nil
	})
	close(resume)
	e.result(t, "o-1")
	runtimetest.Eventually(t, time.Second, func() error {
		e.publish(t, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "o-1"})
		if v := e.result(t, "o-1").Data.Fields["version"].GetNumberValue(); v != 1 {
			return fmt.Errorf("version %v", v)
		}
		return nil
	})
}

// Neither the end of an instance nor a kill takes its consumers away: the server does,
// soon.
func TestFollowersDoNotStay(t *testing.T) {
	t.Parallel()
	e := start(t, standard)
	for _, name := range []string{"end_devices", "organizations"} {
		s, err := e.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for c := range s.ListConsumers(t.Context()).Info() {
			n++
			if stays := c.Config.InactiveThreshold; stays <= 0 || stays > 30*time.Second {
				t.Errorf("%s: %s stays for %v", name, c.Name, stays)
			}
		}
		if n != 1 {
			t.Errorf("%s has %d consumers", name, n)
		}
	}
}
