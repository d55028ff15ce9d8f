package convert

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
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
