package bench

import (
	"context"
	"fmt"
	"strings"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
)

// devices is how many devices send, and organization whose they are.
const (
	devices      = 1000
	organization = "dc27sm1ksdua0kastda0"
)

func deviceID(i int) string { return fmt.Sprintf("dc27sm1ksdua0kas%04d", i%devices) }

// directory answers for end-device and organization from memory: their database is
// no part of what is measured, and convert remembers the answers. It takes more
// calls at a time than two instances make that know nothing yet.
func (w *World) directory(ctx context.Context) error {
	nc, err := w.dial()
	if err != nil {
		return err
	}
	h, err := w.start(ctx, nc, 4096,
		runtime.Func("end-device", runtime.Endpoint(enddevicev1.EndDeviceService_GetEndDevice_FullMethodName, getEndDevice)),
		runtime.Func("organization", runtime.Endpoint(organizationv1.OrganizationService_GetOrganization_FullMethodName, getOrganization)))
	if err == nil {
		w.closers = append(w.closers, h.Close)
	}
	return err
}

func getEndDevice(_ context.Context, req *enddevicev1.GetEndDeviceRequest) (*enddevicev1.GetEndDeviceResponse, error) {
	return &enddevicev1.GetEndDeviceResponse{EndDevice: &enddevicev1.EndDevice{
		DeviceId: req.DeviceId, OrganizationId: organization, Name: "thermometer", PayloadConversion: decodeAll,
	}}, nil
}

func getOrganization(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
	return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{
		Id: req.OrganizationId, Name: strings.Repeat("x", 128), Status: organizationv1.OrganizationStatus_ORGANIZATION_STATUS_ACTIVE,
	}}, nil
}
