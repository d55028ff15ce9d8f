package convert

import (
	"context"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
)

// Cache bounds what is remembered of devices.
type Cache struct {
	Size int           `name:"device-cache-size" default:"65536" help:"Devices that a convert instance remembers."`
	TTL  time.Duration `name:"device-cache-ttl" default:"10s" help:"After how long a remembered device is asked for again, even if no event tells of it."`
}

// fresh is how old knowledge of a device may be to let a message die of it, and
// how long an unknown device stays unknown. An organization is not asked for again
// for as long, or a tenth of the TTL: many devices share it.
const fresh = time.Second

// Devices resolves devices through the end-device and organization functions,
// with a bounded cache in front. Events make it forget what has changed; what
// they miss, the TTL bounds.
type Devices struct {
	devices       enddevicev1.EndDeviceServiceClient
	organizations organizationv1.OrganizationServiceClient
	ttl           time.Duration
	known         *lru.Cache[string, *device]
	unknown       *expirable.LRU[string, struct{}]
	owners        *lru.Cache[string, owner] // by the id of the organization
	calls         singleflight.Group        // for devices
	ownerCalls    singleflight.Group

	mu      sync.Mutex // of what follows, and of writing to known, unknown and owners
	changes uint64     // events so far
}

// device is an end device as it was at a moment, with its organization.
type device struct {
	*enddevicev1.EndDevice
	organizationDeleted bool
	at                  time.Time
}

// owner is what matters of an organization, as it was at a moment.
type owner struct {
	deleted bool
	at      time.Time
}

func (d *device) staleAfter(now time.Time) bool { return now.Sub(d.at) > fresh }

// NewDevices returns a resolver that calls the functions on conn.
func NewDevices(conn grpc.ClientConnInterface, c Cache) *Devices {
	known, err := lru.New[string, *device](max(c.Size, 1))
	owners, err2 := lru.New[string, owner](max(c.Size, 1))
	if err := errors.Join(err, err2); err != nil {
		panic(err) // only of a size that is not positive
	}
	return &Devices{
		devices:       enddevicev1.NewEndDeviceServiceClient(conn),
		organizations: organizationv1.NewOrganizationServiceClient(conn),
		ttl:           c.TTL,
		known:         known,
		unknown:       expirable.NewLRU[string, struct{}](c.Size, nil, fresh),
		owners:        owners,
	}
}

// unknownDevice is NOT_FOUND, which may change: the device may be on its way.
type unknownDevice struct{ error }

func (u *unknownDevice) Unwrap() error { return u.error }

func unknown(id string) error {
	return &unknownDevice{runtime.Error(codes.NotFound, "UNKNOWN_DEVICE", "device %q does not exist", id)}
}

// resolve returns a device as it was no earlier than notBefore. Errors are those
// of the functions; one for an unknown device is an *unknownDevice.
//
// Where notBefore is zero, a device that is known is good enough while the
// functions do not answer: the pipeline goes on without PostgreSQL.
func (d *Devices) resolve(ctx context.Context, id string, notBefore time.Time) (*device, error) {
	known, ok := d.known.Get(id)
	if ok && !known.at.Before(notBefore) && time.Since(known.at) < d.ttl {
		return known, nil
	}
	if _, ok := d.unknown.Get(id); ok {
		return nil, unknown(id)
	}
	answer := d.calls.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		return d.fetch(ctx, id, notBefore)
	})
	var enough <-chan time.Time
	if ok && notBefore.IsZero() {
		enough = time.After(patient)
	}
	select {
	case r := <-answer:
		if r.Err == nil {
			return r.Val.(*device), nil
		}
		if enough != nil && away(r.Err) {
			return d.keep(known), nil
		}
		return nil, r.Err
	case <-enough:
		return d.keep(known), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// askTime is how long a device is asked for, and patient how long a message waits
// for that where the device is known.
const (
	askTime = 5 * time.Second
	patient = 250 * time.Millisecond
)

// away tells whether err is that of functions, or of PostgreSQL behind them, that
// cannot be reached.
func away(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// keep makes a device that could not be asked for good for a second more, so that
// not every message asks again.
func (d *Devices) keep(dev *device) *device {
	kept := *dev
	kept.at = time.Now().Add(-max(d.ttl-fresh, fresh))
	d.mu.Lock()
	defer d.mu.Unlock()
	if now, ok := d.known.Peek(dev.DeviceId); ok && now == dev { // no event, and no answer, came meanwhile
		d.known.Add(dev.DeviceId, &kept)
	}
	return &kept
}

// fetch asks for a device, and for its organization if that was not done just now.
func (d *Devices) fetch(ctx context.Context, id string, notBefore time.Time) (*device, error) {
	at, changes := time.Now(), d.seen()
	resp, err := d.devices.GetEndDevice(ctx, &enddevicev1.GetEndDeviceRequest{DeviceId: id})
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound, codes.InvalidArgument:
		d.remember(changes, func() {
			d.known.Remove(id)
			d.unknown.Add(id, struct{}{})
		})
		return nil, unknown(id)
	default:
		return nil, err
	}
	o, err := d.owner(ctx, resp.EndDevice.OrganizationId, notBefore)
	if err != nil {
		return nil, err
	}
	if o.at.Before(at) {
		at = o.at
	}
	dev := &device{EndDevice: resp.EndDevice, organizationDeleted: o.deleted, at: at}
	d.remember(changes, func() { d.known.Add(id, dev) })
	return dev, nil
}

// owner returns an organization as it was no earlier than notBefore.
func (d *Devices) owner(ctx context.Context, id string, notBefore time.Time) (owner, error) {
	if o, ok := d.owners.Get(id); ok && !o.at.Before(notBefore) && time.Since(o.at) < min(fresh, d.ttl/10) {
		return o, nil
	}
	answer, err, _ := d.ownerCalls.Do(id, func() (any, error) {
		at, changes := time.Now(), d.seen()
		_, err := d.organizations.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: id})
		if code := status.Code(err); code != codes.OK && code != codes.NotFound {
			return owner{}, err
		}
		o := owner{deleted: err != nil, at: at}
		d.remember(changes, func() { d.owners.Add(id, o) })
		return o, nil
	})
	return answer.(owner), err
}

// seen is how many events there have been.
func (d *Devices) seen() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changes
}

// remember calls add unless there was an event since there were so many: what
// was fetched meanwhile may be older than the event.
func (d *Devices) remember(changes uint64, add func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == changes {
		add()
	}
}
