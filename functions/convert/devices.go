package convert

import (
	"context"
	"sync"
	"time"

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
	TTL  time.Duration `name:"device-cache-ttl" default:"10s" help:"How long a device is remembered at most."`
}

// fresh is how old knowledge of a device may be to let a message die of it, and
// how long an unknown device stays unknown.
const fresh = time.Second

// Devices resolves devices through the end-device and organization functions,
// with a bounded cache in front. Events make it forget what has changed; what
// they miss, the TTL bounds.
type Devices struct {
	devices       enddevicev1.EndDeviceServiceClient
	organizations organizationv1.OrganizationServiceClient
	known         *expirable.LRU[string, *device]
	unknown       *expirable.LRU[string, struct{}]
	calls         singleflight.Group

	mu      sync.Mutex // of what follows, and of writing to known and unknown
	changes uint64     // events so far
}

// device is an end device as it was at a moment.
type device struct {
	*enddevicev1.EndDevice
	organizationDeleted bool
	at                  time.Time
}

func (d *device) staleAfter(now time.Time) bool { return now.Sub(d.at) > fresh }

// NewDevices returns a resolver that calls the functions on conn.
func NewDevices(conn grpc.ClientConnInterface, c Cache) *Devices {
	return &Devices{
		devices:       enddevicev1.NewEndDeviceServiceClient(conn),
		organizations: organizationv1.NewOrganizationServiceClient(conn),
		known:         expirable.NewLRU[string, *device](c.Size, nil, c.TTL),
		unknown:       expirable.NewLRU[string, struct{}](c.Size, nil, fresh),
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
func (d *Devices) resolve(ctx context.Context, id string, notBefore time.Time) (*device, error) {
	if dev, ok := d.known.Get(id); ok && !dev.at.Before(notBefore) {
		return dev, nil
	}
	if _, ok := d.unknown.Get(id); ok {
		return nil, unknown(id)
	}
	v, err, _ := d.calls.Do(id, func() (any, error) { return d.fetch(ctx, id) })
	if err != nil {
		return nil, err
	}
	return v.(*device), nil
}

func (d *Devices) fetch(ctx context.Context, id string) (*device, error) {
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
	dev := &device{EndDevice: resp.EndDevice, at: at}
	_, err = d.organizations.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: dev.OrganizationId})
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound:
		dev.organizationDeleted = true
	default:
		return nil, err
	}
	d.remember(changes, func() { d.known.Add(id, dev) })
	return dev, nil
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
