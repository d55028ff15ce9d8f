package convert

import (
	"context"
	"sync"
	"time"
	"unique"

	"google.golang.org/grpc/codes"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	"ponix/runtime"
)

// A call asks for so many devices at most, whose answer NATS takes even if each has
// the longest of expressions, and there are so many calls at a time.
const (
	lookupSize  = 256
	lookupCalls = 4
)

// lookups ask for devices: for one at once, and together for those that are wanted
// while calls are on their way. A call costs much more
// than a device in it.
type lookups struct {
	mu      sync.Mutex
	waiting []*lookup
	of      map[string]*lookup // by the ids of devices that are asked for
	calls   int                // that are on their way
}

// lookup is one call.
type lookup struct {
	ids       []string
	notBefore time.Time // how old what is known of organizations may be
	began     time.Time // zero while it waits

	done    chan struct{} // closed when what follows is there
	failure error         // of all
	answers map[string]answer
}

// answer is that for one device. There is none for one that does not exist.
type answer struct {
	device
	err error // of asking for its organization
}

// of returns what has become of one of the devices.
func (l *lookup) of(id string) (device, error) {
	a, ok := l.answers[id]
	switch {
	case l.failure != nil:
		return device{}, l.failure
	case !ok:
		return device{}, unknown(id)
	}
	return a.device, a.err
}

// lookUp asks for a device, or joins whoever does and did not begin before notBefore.
// An answer that has come since the caller looked is one that is done.
func (d *Devices) lookUp(ctx context.Context, id string, notBefore time.Time) *lookup {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if known, ok := d.recall(id); ok && d.good(known, notBefore) {
		return came(map[string]answer{id: {device: known}})
	}
	if d.isUnknown(id) {
		return came(nil)
	}
	all := &d.lookups
	all.mu.Lock()
	defer all.mu.Unlock()
	if l, ok := all.of[id]; ok && (l.began.IsZero() || !l.began.Before(notBefore)) {
		return l.upTo(notBefore)
	}
	n := len(all.waiting)
	if n == 0 || len(all.waiting[n-1].ids) == lookupSize {
		all.waiting = append(all.waiting, &lookup{done: make(chan struct{})})
		n++
	}
	l := all.waiting[n-1]
	l.ids = append(l.ids, id)
	all.of[id] = l
	if all.calls < lookupCalls {
		all.calls++
		go d.call(context.WithoutCancel(ctx))
	}
	return l.upTo(notBefore)
}

// came is a call whose answers are there.
func came(answers map[string]answer) *lookup {
	l := &lookup{done: make(chan struct{}), answers: answers}
	close(l.done)
	return l
}

// upTo has a call that waits ask for organizations again that were not asked for
// since.
func (l *lookup) upTo(notBefore time.Time) *lookup {
	if l.began.IsZero() && notBefore.After(l.notBefore) {
		l.notBefore = notBefore
	}
	return l
}

// call makes the calls that wait.
func (d *Devices) call(ctx context.Context) {
	all := &d.lookups
	all.mu.Lock()
	defer all.mu.Unlock()
	for len(all.waiting) > 0 {
		l := all.waiting[0]
		all.waiting = all.waiting[1:]
		l.began = time.Now()
		all.mu.Unlock()
		d.fetch(ctx, l)
		all.mu.Lock()
		for _, id := range l.ids {
			if all.of[id] == l {
				delete(all.of, id)
			}
		}
		close(l.done)
	}
	all.calls--
}

// forget keeps whoever asks for a device from now on from joining a call whose
// answer may be older.
func (all *lookups) forget(id string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.of, id)
}

// forgetAll is forget for every device.
func (all *lookups) forgetAll() {
	all.mu.Lock()
	defer all.mu.Unlock()
	clear(all.of)
}

// fetch asks for devices, and for those of their organizations that were not asked
// for just now.
func (d *Devices) fetch(ctx context.Context, l *lookup) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	changes := d.seen()
	resp, err := d.devices.BatchGetEndDevices(ctx, &enddevicev1.BatchGetEndDevicesRequest{DeviceIds: l.ids})
	if err != nil && !temporary(err) { // no message dies of what was said of many
		err = runtime.Error(codes.Unavailable, "LOOKUP_REFUSED", "devices cannot be asked for: %v", err)
	}
	if err != nil {
		d.failed()
		l.failure = err
		return
	}
	type result struct {
		owner
		tenant *tenant
		err    error
	}
	owners := map[string]*result{}
	var asking sync.WaitGroup
	for _, dev := range resp.EndDevices {
		id := dev.OrganizationId
		if owners[id] != nil {
			continue
		}
		o := &result{tenant: &tenant{id: id}}
		owners[id] = o
		if known, ok := d.ownerKnown(id, l.notBefore); ok {
			o.owner = known
			continue
		}
		asking.Go(func() { o.owner, o.err = d.owner(ctx, id) })
	}
	asking.Wait()
	l.answers = make(map[string]answer, len(l.ids))
	for _, dev := range resp.EndDevices {
		o := owners[dev.OrganizationId]
		at := l.began
		if o.at.Before(at) {
			at = o.at
		}
		both := dev.DeviceId + dev.Name // one string is enough
		n := len(dev.DeviceId)
		l.answers[both[:n]] = answer{device{
			id: both[:n], name: both[n:],
			tenant: o.tenant, expression: unique.Make(dev.PayloadConversion),
			organizationDeleted: o.deleted, at: at,
		}, o.err}
	}
	d.remember(changes, func() {
		d.lookups.mu.Lock()
		defer d.lookups.mu.Unlock()
		for _, id := range l.ids {
			if d.lookups.of[id] != l { // an event told of it meanwhile, or somebody asks again
				continue
			}
			if a, ok := l.answers[id]; !ok {
				d.forget(id)
				d.unknown.Add(id, time.Now())
			} else if a.err == nil {
				d.add(a.device)
			}
		}
	})
}
