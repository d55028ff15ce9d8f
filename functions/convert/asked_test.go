package convert

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
						time.Sleep(time.Second)
						return nil
					},
				}, Cache{Size: 10, TTL: time.Hour})
				go d.resolve(t.Context(), "1", time.Time{}) //nolint:errcheck // what it gets was so
				time.Sleep(time.Millisecond)
				var notBefore time.Time
				if event(d); name == "none" {
					notBefore = time.Now()
				}
				if dev, err := d.resolve(t.Context(), "2", notBefore); err != nil || !dev.organizationDeleted || dev.at.Before(notBefore) {
					t.Errorf("got %v, %v", dev, err)
				}
				time.Sleep(2 * time.Second) // the first call ends
			})
		})
	}
}
