package convert_test

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
)

// registry stands in for the functions that manage devices and organizations.
type registry struct {
	mu      sync.Mutex
	devices map[string]string // expressions by id
	deleted map[string]bool   // organizations
	asked   map[string]int    // for devices and organizations, by id
	calls   int               // for devices
	broken  error
	hidden  error                 // what a member gets who asks for a device
	held    func(context.Context) // called with what was read, before it is sent
}

func (r *registry) hold(f func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = f
}

func (r *registry) set(device, expression string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.devices[device] = expression
}

func (r *registry) breakWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}

func (r *registry) times(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[id]
}

// lookups is how many calls asked for devices.
func (r *registry) lookups() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// visible answers a member who asks for a device.
func (r *registry) visible(ctx context.Context, req *enddevicev1.GetEndDeviceRequest) (*enddevicev1.GetEndDeviceResponse, error) {
	r.mu.Lock()
	hidden := r.hidden
	r.mu.Unlock()
	if hidden != nil {
		return nil, hidden
	}
	resp, err := r.batch(ctx, &enddevicev1.BatchGetEndDevicesRequest{DeviceIds: []string{req.DeviceId}})
	if err != nil {
		return nil, err
	}
	if len(resp.EndDevices) == 0 {
		return nil, runtime.Error(codes.NotFound, "END_DEVICE_NOT_FOUND", "no such device")
	}
	return &enddevicev1.GetEndDeviceResponse{EndDevice: resp.EndDevices[0]}, nil
}

func (r *registry) batch(ctx context.Context, req *enddevicev1.BatchGetEndDevicesRequest) (*enddevicev1.BatchGetEndDevicesResponse, error) {
	resp, held, err := r.read(req.DeviceIds)
	if held != nil {
		held(ctx)
	}
	return resp, err
}

func (r *registry) read(ids []string) (*enddevicev1.BatchGetEndDevicesResponse, func(context.Context), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	resp := &enddevicev1.BatchGetEndDevicesResponse{}
	for _, id := range ids {
		r.asked[id]++
		if expression, ok := r.devices[id]; ok {
			org, _, _ := strings.Cut(id, "-")
			resp.EndDevices = append(resp.EndDevices, &enddevicev1.EndDevice{DeviceId: id, OrganizationId: org, Name: "thermometer", PayloadConversion: expression})
		}
	}
	return resp, r.held, r.broken
}

func (r *registry) organization(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[req.OrganizationId]++
	if r.deleted[req.OrganizationId] {
		return nil, runtime.Error(codes.NotFound, "ORGANIZATION_NOT_FOUND", "no such organization")
	}
	return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId}}, nil
}
