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
		runtime.Func("end-device", runtime.Endpoint(enddevicev1.EndDeviceService_BatchGetEndDevices_FullMethodName, getEndDevices)),
		runtime.Func("organization", runtime.Endpoint(organizationv1.OrganizationService_GetOrganization_FullMethodName, getOrganization)))
	if err == nil {
		w.closers = append(w.closers, h.Close)
	}
	return err
}

func getEndDevices(_ context.Context, req *enddevicev1.BatchGetEndDevicesRequest) (*enddevicev1.BatchGetEndDevicesResponse, error) {
	resp := &enddevicev1.BatchGetEndDevicesResponse{}
	for _, id := range req.DeviceIds {
		resp.EndDevices = append(resp.EndDevices, &enddevicev1.EndDevice{
			DeviceId: id, OrganizationId: organization, Name: "thermometer", PayloadConversion: decodeAll,
		})
	}
	return resp, nil
}

func getOrganization(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
	return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{
		Id: req.OrganizationId, Name: strings.Repeat("x", 128), Status: organizationv1.OrganizationStatus_ORGANIZATION_STATUS_ACTIVE,
	}}, nil
}
