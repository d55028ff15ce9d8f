package convert

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestOrganizationAskedBefore has an organization be deleted while it is asked for: who wants to
// know after an event, also one that names nobody, or how it is now, asks again, and does not
// wait for what was read before.
func TestOrganizationAskedBefore(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]func(*Devices){
		"an event":               func(d *Devices) { d.organizationEvent([]byte("\x0a\x01o")) }, // its id
		"an event without an id": func(d *Devices) { d.organizationEvent(nil) },
		"none":                   func(*Devices) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				d := NewDevices(&directory{
					asked: func(string) {},
					organization: func() error {
						if calls.Add(1) > 1 {
							return status.Error(codes.NotFound, "deleted")
						}
						time.Sleep(100 * time.Millisecond)
						return nil
					},
				}, Cache{Size: 10, TTL: time.Hour})
				go d.resolve(t.Context(), "1", time.Time{}) //nolint:errcheck // what it gets was so
				time.Sleep(time.Millisecond)
				var notBefore time.Time
				if event(d); name == "none" {
					notBefore = time.Now()
				}
				for _, id := range []string{"1", "2", "3"} { // before the first call ends, and after
					if dev, err := d.resolve(t.Context(), id, notBefore); err != nil || !dev.organizationDeleted || dev.at.Before(notBefore) {
						t.Errorf("device %s: got %v, %v", id, dev, err)
					}
					time.Sleep(60 * time.Millisecond)
				}
			})
		})
	}
}

// TestDeviceAskedBefore has a device be asked for already: who wants to know how it is now asks
// again.
func TestDeviceAskedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := NewDevices(&directory{
			asked:        func(string) { time.Sleep(time.Second) },
			organization: func() error { return nil },
		}, Cache{Size: 10, TTL: time.Hour})
		go d.resolve(t.Context(), "1", time.Time{}) //nolint:errcheck // what it gets was so
		time.Sleep(time.Millisecond)
		now := time.Now()
		if dev, err := d.resolve(t.Context(), "1", now); err != nil || dev.at.Before(now) {
			t.Errorf("it is as it was %v before, %v", now.Sub(dev.at), err)
		}
	})
}

// TestLookupsAreBounded holds that no call asks for more devices than its answer has room for,
// however many are wanted.
func TestLookupsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d *Devices
		most := 0
		d = NewDevices(&directory{
			asked: func(id string) {
				time.Sleep(time.Millisecond)
				d.lookups.mu.Lock()
				defer d.lookups.mu.Unlock()
				most = max(most, len(d.lookups.of[id].ids))
			},
			organization: func() error { return nil },
		}, Cache{Size: 10, TTL: time.Hour})
		var all sync.WaitGroup
		for i := range 4 * lookupSize {
			all.Go(func() {
				if dev, err := d.resolve(t.Context(), strconv.Itoa(i), time.Time{}); err != nil || dev.id != strconv.Itoa(i) {
					t.Errorf("%d: got %v, %v", i, dev, err)
				}
			})
		}
		all.Wait()
		if most != lookupSize {
			t.Errorf("a call for %d devices, want %d", most, lookupSize)
		}
	})
}

// noDevice answers every call with nothing, or an error.
type noDevice struct {
	grpc.ClientConnInterface
	err error
}

func (c *noDevice) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return c.err }

// TestRemovedDeviceStaysRemoved has a device go, of which no event tells: where that was heard once,
// it is none any more while nobody can be asked.
func TestRemovedDeviceStaysRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := &noDevice{}
		d := NewDevices(conn, Cache{Size: 10, TTL: time.Minute})
		d.add(device{id: "d", tenant: &tenant{id: "o"}, at: time.Now()})
		time.Sleep(time.Hour)
		if dev, err := d.resolve(t.Context(), "d", time.Time{}); status.Code(err) != codes.NotFound {
			t.Errorf("got %v, %v", dev, err)
		}
		conn.err = status.Error(codes.Unavailable, "away")
		time.Sleep(fresh)
		if dev, err := d.resolve(t.Context(), "d", time.Time{}); status.Code(err) != codes.Unavailable {
			t.Errorf("then got %v, %v", dev, err)
		}
	})
}

// TestWhatIsKeptDecidesNoFate holds that what is good enough while nobody can be asked is too old to
// let a message die of it, however soon devices are asked for again.
func TestWhatIsKeptDecidesNoFate(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, fresh, 2 * fresh, time.Hour} {
		d := NewDevices(&noDevice{}, Cache{Size: 10, TTL: ttl})
		if age := time.Since(d.keep(device{id: "d"}).at); age < fresh {
			t.Errorf("by a TTL of %v it is %v old", ttl, age)
		}
	}
}

// TestNoIDIsNotAskedFor holds that what cannot be the id of a device does not spoil a call for others.
func TestNoIDIsNotAskedFor(t *testing.T) {
	t.Parallel()
	d := NewDevices(&directory{
		asked:        func(id string) { t.Errorf("%q is asked for", id) },
		organization: func() error { return nil },
	}, Cache{Size: 10, TTL: time.Hour})
	for _, id := range []string{"", "a.b", "ü"} {
		if dev, err := d.resolve(t.Context(), id, time.Time{}); status.Code(err) != codes.NotFound {
			t.Errorf("%q: got %v, %v", id, dev, err)
		}
	}
}
