package convert

import (
	"context"
	"sync"
	"time"
	"unique"

	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
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
	size          int                           // of known
	unknown       *lru.Cache[string, time.Time] // since when
	owners        *lru.Cache[string, owner]     // by the id of the organization
	lookups       lookups

	mu      sync.RWMutex // of what follows, and of writing to unknown and owners
	known   map[string]device
	tenants map[string]*tenant // of known, by id
	changes uint64             // events so far that may concern any device
	trouble time.Time          // when a call for devices, or for an organization, last failed
}

// device is what matters of an end device, as it was at a moment, with its
// organization. There are many: they share what is the same, and have few pointers
// that the garbage collector has to follow.
type device struct {
	id, name            string
	tenant              *tenant
	expression          unique.Handle[string]
	organizationDeleted bool
	at                  time.Time
}

// tenant is the organization of devices that are known, which are many: an event of it
// goes through none of them.
type tenant struct {
	id      string
	devices int  // that are known
	changed bool // since they were asked for: they are known no more
}

// owner is what matters of an organization, as it was at a moment.
type owner struct {
	deleted bool
	at      time.Time
}

// NewDevices returns a resolver that calls the functions on conn.
func NewDevices(conn grpc.ClientConnInterface, c Cache) *Devices {
	size := max(c.Size, 1)
	return &Devices{
		devices:       enddevicev1.NewEndDeviceServiceClient(conn),
		organizations: organizationv1.NewOrganizationServiceClient(conn),
		ttl:           c.TTL,
		size:          size,
		unknown:       recent[time.Time](size),
		owners:        recent[owner](size),
		lookups:       lookups{of: map[string]*lookup{}},
		known:         map[string]device{},
		tenants:       map[string]*tenant{},
	}
}

func recent[V any](size int) *lru.Cache[string, V] {
	c, err := lru.New[string, V](size)
	if err != nil {
		panic(err) // only of a size that is not positive
	}
	return c
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
func (d *Devices) resolve(ctx context.Context, id string, notBefore time.Time) (device, error) {
	d.mu.RLock()
	known, ok := d.recall(id)
	d.mu.RUnlock()
	if ok && d.good(known, notBefore) {
		return known, nil
	}
	if d.isUnknown(id) || !wire.IsID(id) {
		return device{}, unknown(id)
	}
	answer := d.lookUp(ctx, id, notBefore)
	if !ok || !notBefore.IsZero() {
		<-answer.done // that has a deadline of its own: to wait for ctx as well would cost more than to look up
		return answer.of(id)
	}
	select {
	case <-answer.done:
		dev, err := answer.of(id)
		if err != nil && away(err) {
			return d.keep(known), nil
		}
		return dev, err
	case <-time.After(patient):
		return d.keep(known), nil
	}
}

// isUnknown tells whether a device was asked for just now, and does not exist.
func (d *Devices) isUnknown(id string) bool {
	since, ok := d.unknown.Get(id)
	return ok && time.Since(since) < fresh
}

// good tells whether what is known of a device is as it was no earlier than notBefore,
// and not too old.
func (d *Devices) good(known device, notBefore time.Time) bool {
	return !known.at.Before(notBefore) && time.Since(known.at) < d.ttl
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
func (d *Devices) keep(dev device) device {
	kept := dev
	kept.at = time.Now().Add(-max(d.ttl-fresh, fresh))
	d.mu.Lock()
	defer d.mu.Unlock()
	if now, ok := d.recall(dev.id); ok && now == dev { // no event, and no answer, came meanwhile
		d.known[dev.id] = kept
	}
	return kept
}

// add remembers a device, in the place of any where there is no room. Devices
// report in turn: the one that was not heard of for longest would often be the next.
// The caller holds the lock.
func (d *Devices) add(dev device) {
	d.forget(dev.id)
	if len(d.known) >= d.size {
		for _, old := range d.known {
			d.drop(old)
			break
		}
	}
	if t, ok := d.tenants[dev.tenant.id]; ok {
		dev.tenant = t
	} else {
		d.tenants[dev.tenant.id] = dev.tenant
	}
	dev.tenant.devices++
	d.known[dev.id] = dev
}

// recall returns a device that is known. The caller holds the lock, for reading at least.
func (d *Devices) recall(id string) (device, bool) {
	dev, ok := d.known[id]
	return dev, ok && !dev.tenant.changed
}

// forget makes a device one that is not known. The caller holds the lock.
func (d *Devices) forget(id string) {
	if dev, ok := d.known[id]; ok {
		d.drop(dev)
	}
}

// drop is forget for a device that is known for certain.
func (d *Devices) drop(dev device) {
	delete(d.known, dev.id)
	if dev.tenant.devices--; dev.tenant.devices == 0 && !dev.tenant.changed {
		delete(d.tenants, dev.tenant.id)
	}
}

// ownerKnown returns an organization that was asked for no earlier than notBefore,
// and just now.
func (d *Devices) ownerKnown(id string, notBefore time.Time) (owner, bool) {
	o, ok := d.owners.Get(id)
	return o, ok && !o.at.Before(notBefore) && time.Since(o.at) < min(fresh, d.ttl/10)
}

// owner asks for an organization.
func (d *Devices) owner(ctx context.Context, id string) (owner, error) {
	at, changes := time.Now(), d.seen()
	_, err := d.organizations.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: id})
	if code := status.Code(err); code != codes.OK && code != codes.NotFound {
		d.failed()
		return owner{}, err
	}
	o := owner{deleted: err != nil, at: at}
	d.remember(changes, func() { d.owners.Add(id, o) })
	return o, nil
}

// seen is how many events there have been.
func (d *Devices) seen() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changes
}

// failed notes that a call for devices, or for an organization, has failed just now.
func (d *Devices) failed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble = time.Now()
}

// troubled is when such a call last failed; zero if none has.
func (d *Devices) troubled() time.Time {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.trouble
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
