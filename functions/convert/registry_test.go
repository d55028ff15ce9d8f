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
	broken  error
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

func (r *registry) device(ctx context.Context, req *enddevicev1.GetEndDeviceRequest) (*enddevicev1.GetEndDeviceResponse, error) {
	resp, held, err := r.read(req)
	if held != nil {
		held(ctx)
	}
	return resp, err
}

func (r *registry) read(req *enddevicev1.GetEndDeviceRequest) (*enddevicev1.GetEndDeviceResponse, func(context.Context), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[req.DeviceId]++
	if r.broken != nil {
		return nil, nil, r.broken
	}
	expression, ok := r.devices[req.DeviceId]
	if !ok {
		return nil, nil, runtime.Error(codes.NotFound, "END_DEVICE_NOT_FOUND", "no such device")
	}
	org, _, _ := strings.Cut(req.DeviceId, "-")
	return &enddevicev1.GetEndDeviceResponse{EndDevice: &enddevicev1.EndDevice{DeviceId: req.DeviceId, OrganizationId: org, Name: "thermometer", PayloadConversion: expression}}, r.held, nil
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
