package convert

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
)

// oneDevice answers every call with one device, at once.
type oneDevice struct {
	grpc.ClientConnInterface
	asked atomic.Int32 // for the device
}

func (c *oneDevice) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	if resp, ok := reply.(*enddevicev1.BatchGetEndDevicesResponse); ok {
		c.asked.Add(1)
		resp.EndDevices = []*enddevicev1.EndDevice{{DeviceId: "d", OrganizationId: "o"}}
	}
	return nil
}

// TestIdle holds that a resolver which nobody asks does nothing: a cache with a ticker took
// more of a processor than all else in an idle instance together.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(*testing.T) { NewDevices(&oneDevice{}, Cache{Size: 10, TTL: time.Minute}) })
}

// TestOneAsks holds that whoever found a device unknown, and comes late, does not ask
// for what has been answered meanwhile.
func TestOneAsks(t *testing.T) {
	t.Parallel()
	for range 500 {
		conn := &oneDevice{}
		d := NewDevices(conn, Cache{Size: 10, TTL: time.Minute})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if dev, err := d.resolve(t.Context(), "d", time.Time{}); err != nil || dev.id != "d" {
					t.Errorf("got %v, %v", dev, err)
				}
			})
		}
		all.Wait()
		if n := conn.asked.Load(); n != 1 {
			t.Fatalf("asked %d times", n)
		}
	}
}

// directory answers for any device, all of one organization.
type directory struct {
	grpc.ClientConnInterface
	asked        func(device string)
	organization func() error
}

func (c *directory) Invoke(_ context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	resp, ok := reply.(*enddevicev1.BatchGetEndDevicesResponse)
	if !ok {
		return c.organization()
	}
	for _, id := range args.(*enddevicev1.BatchGetEndDevicesRequest).DeviceIds {
		c.asked(id)
		resp.EndDevices = append(resp.EndDevices, &enddevicev1.EndDevice{DeviceId: id, OrganizationId: "o"})
	}
	return nil
}

// TestWhatIsNotRemembered has an organization that cannot be asked for, and an event that
// comes while a device is: either is asked for again. What is known of a device is as old
// as what is known of its organization.
func TestWhatIsNotRemembered(t *testing.T) {
	t.Parallel()
	var d *Devices
	var asked []string
	event := func() {}
	gone := status.Error(codes.Unavailable, "away")
	d = NewDevices(&directory{
		asked:        func(id string) { asked = append(asked, id); event() },
		organization: func() error { return gone },
	}, Cache{Size: 10, TTL: time.Minute})
	resolve := func(id string) (device, error) { return d.resolve(t.Context(), id, time.Time{}) }
	for range 2 {
		if dev, err := resolve("d1"); status.Code(err) != codes.Unavailable {
			t.Fatalf("got %v, %v", dev, err)
		}
	}
	gone = status.Error(codes.NotFound, "deleted")
	if dev, err := resolve("d1"); err != nil || !dev.organizationDeleted {
		t.Errorf("got %v, %v", dev, err)
	}
	event = func() { d.deviceEvent([]byte("\x0a\x02d2")) } // its id
	for range 2 {
		dev, err := resolve("d2")
		if o, _ := d.owners.Get("o"); err != nil || dev.at.After(o.at) {
			t.Errorf("the device is of %v, and its organization of %v, %v", dev.at, o.at, err)
		}
		event = func() {}
	}
	if want := []string{"d1", "d1", "d1", "d2", "d2"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

// TestChangedWhileAway holds that what was known before an event, and is good enough while nobody
// can be asked, does not take the place of what has come since.
func TestChangedWhileAway(t *testing.T) {
	t.Parallel()
	d := NewDevices(&oneDevice{}, Cache{Size: 10, TTL: time.Minute})
	before, since := device{id: "d", name: "before", tenant: &tenant{id: "o"}}, device{id: "d", name: "since", tenant: &tenant{id: "o"}}
	d.add(since)
	if kept := d.keep(before); kept.name != "before" {
		t.Errorf("got %v", kept)
	}
	if known, ok := d.recall("d"); !ok || known.name != "since" {
		t.Errorf("known is %v", known)
	}
}

// TestOrganizationChangesWhileAsked has an organization be deleted while it is asked for: what was
// read before is not remembered. Nor is what is remembered enough where it has to be newer.
func TestOrganizationChangesWhileAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d *Devices
		asked := 0
		d = NewDevices(&directory{
			asked: func(string) {},
			organization: func() error {
				if asked++; asked > 1 {
					return status.Error(codes.NotFound, "deleted")
				}
				d.organizationEvent([]byte("\x0a\x01o")) // its id
				return nil
			},
		}, Cache{Size: 10, TTL: time.Hour})
		for i, want := range []int{1, 2, 2, 3} {
			notBefore := time.Time{}
			if i == 3 {
				time.Sleep(time.Millisecond)
				notBefore = time.Now()
			}
			dev, err := d.resolve(t.Context(), strconv.Itoa(i), notBefore)
			if err != nil || dev.organizationDeleted != (i > 0) || asked != want {
				t.Errorf("device %d, with the organization asked for %d times: %v, %v", i, asked, dev, err)
			}
		}
	})
}

// TestOrganizationIsForgotten holds that an event of an organization, or of any, is in force for a
// device of it that was never asked for.
func TestOrganizationIsForgotten(t *testing.T) {
	t.Parallel()
	for _, event := range []string{"\x0a\x01o", ""} { // its id
		var deleted error
		d := NewDevices(&directory{asked: func(string) {}, organization: func() error { return deleted }}, Cache{Size: 10, TTL: time.Hour})
		for _, id := range []string{"1", "2"} {
			if dev, err := d.resolve(t.Context(), id, time.Time{}); err != nil || dev.organizationDeleted != (deleted != nil) {
				t.Errorf("after event %q: %v, %v", event, dev, err)
			}
			deleted = status.Error(codes.NotFound, "deleted")
			d.organizationEvent([]byte(event))
		}
	}
}

// TestTenants holds that an event of an organization concerns the devices that are known to
// be its, and that organizations without any are not remembered.
func TestTenants(t *testing.T) {
	t.Parallel()
	const size, devices, organizations = 20, 60, 8
	d := NewDevices(&oneDevice{}, Cache{Size: size, TTL: time.Hour})
	known := map[string]string{} // the organizations of those that may be known
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		id, org := strconv.Itoa(random.IntN(devices)), strconv.Itoa(random.IntN(organizations))
		switch random.IntN(10) {
		default:
			d.add(device{id: id, tenant: &tenant{id: org}, at: time.Now()})
			known[id] = org
		case 0, 1:
			d.deviceEvent(encoded(t, &enddevicev1.EndDevice{DeviceId: id}))
			delete(known, id)
		case 2:
			d.organizationEvent(encoded(t, &organizationv1.Organization{Id: org}))
			maps.DeleteFunc(known, func(_, of string) bool { return of == org })
		}
		count := map[string]int{}
		for id := range d.known {
			dev, ok := d.recall(id)
			if ok && known[id] != dev.tenant.id {
				t.Fatalf("device %s is known to be of %s, not of %q", id, dev.tenant.id, known[id])
			}
			if ok {
				count[dev.tenant.id]++
			}
		}
		if len(d.known) > size || len(count) != len(d.tenants) {
			t.Fatalf("%d devices of %d organizations, %d remembered", len(d.known), len(count), len(d.tenants))
		}
		for id, tenant := range d.tenants {
			if tenant.devices != count[id] {
				t.Fatalf("%s has %d devices, %d counted", id, count[id], tenant.devices)
			}
		}
	}
	if len(known) == 0 {
		t.Error("nothing was known")
	}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// BenchmarkOrganizationEvent is an event of one of many organizations, while many devices
// are remembered: a snapshot has as many.
func BenchmarkOrganizationEvent(b *testing.B) {
	const devices, organizations = 65536, 1000
	d := NewDevices(&oneDevice{}, Cache{Size: devices, TTL: time.Hour})
	for i := range devices {
		d.add(device{id: strconv.Itoa(i), tenant: &tenant{id: strconv.Itoa(i % organizations)}, at: time.Now()})
	}
	event := encoded(b, &organizationv1.Organization{Id: "7"})
	for b.Loop() {
		d.organizationEvent(event)
	}
}
