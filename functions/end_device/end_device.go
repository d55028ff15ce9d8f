// Package enddevice manages end devices: what sends payloads, and the
// expressions that payloads are converted by.
//
// The devices of a deleted organization can still be read one by one, which is
// how the pipeline learns whose payload it has, and removed. They are neither
// listed nor changed.
package enddevice

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/xid"
	"google.golang.org/grpc/codes"

	"ponix/functions/internal/page"
	"ponix/functions/internal/postgres"
	pb "ponix/proto/ponix/end_device/v1"
	"ponix/runtime"
)

// New returns the function. It answers every method of EndDeviceService. The
// check of an expression says in its error what is wrong with it, and where.
func New(db *pgxpool.Pool, check func(expression string) error) runtime.Function {
	d := devices{db, check}
	return runtime.Func("end-device",
		runtime.Endpoint(pb.EndDeviceService_CreateEndDevice_FullMethodName, d.create,
			func(r *pb.CreateEndDeviceRequest) []*runtime.Violation { return d.checkConversion(r.PayloadConversion) }),
		runtime.Endpoint(pb.EndDeviceService_GetEndDevice_FullMethodName, d.get),
		runtime.Endpoint(pb.EndDeviceService_BatchGetEndDevices_FullMethodName, d.batchGet),
		runtime.Endpoint(pb.EndDeviceService_ListEndDevices_FullMethodName, d.list,
			page.CheckOwned[*pb.ListEndDevicesRequest](pb.EndDeviceService_ListEndDevices_FullMethodName)),
		runtime.Endpoint(pb.EndDeviceService_UpdateEndDevice_FullMethodName, d.update,
			func(r *pb.UpdateEndDeviceRequest) []*runtime.Violation {
				return d.checkConversion(r.GetPayloadConversion())
			}),
		runtime.Endpoint(pb.EndDeviceService_DeleteEndDevice_FullMethodName, d.delete)).
		Described("end devices and their payload conversions")
}

type devices struct {
	db    *pgxpool.Pool
	check func(expression string) error
}

func scan(row pgx.CollectableRow) (*pb.EndDevice, error) {
	d := &pb.EndDevice{}
	err := row.Scan(&d.DeviceId, &d.OrganizationId, &d.Name, &d.PayloadConversion, postgres.Timestamp(&d.CreatedAt), postgres.Timestamp(&d.UpdatedAt))
	return d, err
}

func unknown(id string) error {
	return runtime.Error(codes.NotFound, "END_DEVICE_NOT_FOUND", "end device %q does not exist", id)
}

// checkConversion holds a payload_conversion to what the pipeline can run.
func (d devices) checkConversion(expression string) []*runtime.Violation {
	wrong := ""
	if strings.ContainsRune(expression, 0) {
		wrong = "must have no NUL"
	} else if expression != "" {
		if err := d.check(expression); err != nil {
			wrong = runtime.PublicText(err)
		}
	}
	if wrong == "" {
		return nil
	}
	return []*runtime.Violation{{Field: "payload_conversion", Description: wrong}}
}

func (d devices) create(ctx context.Context, req *pb.CreateEndDeviceRequest) (*pb.CreateEndDeviceResponse, error) {
	dev, err := postgres.Row(ctx, d.db, scan, runtime.UnknownOrganization(req.OrganizationId), createSQL,
		xid.New().String(), req.OrganizationId, strings.TrimSpace(req.Name), req.PayloadConversion)
	return &pb.CreateEndDeviceResponse{EndDevice: dev}, err
}

func (d devices) get(ctx context.Context, req *pb.GetEndDeviceRequest) (*pb.GetEndDeviceResponse, error) {
	dev, err := postgres.Row(ctx, d.db, scan, unknown(req.DeviceId), getSQL, req.DeviceId, runtime.Tenant(ctx))
	return &pb.GetEndDeviceResponse{EndDevice: dev}, err
}

func (d devices) batchGet(ctx context.Context, req *pb.BatchGetEndDevicesRequest) (*pb.BatchGetEndDevicesResponse, error) {
	all, err := postgres.Rows(ctx, d.db, scan, batchSQL, req.DeviceIds, runtime.Tenant(ctx))
	return &pb.BatchGetEndDevicesResponse{EndDevices: all}, err
}

func (d devices) update(ctx context.Context, req *pb.UpdateEndDeviceRequest) (*pb.UpdateEndDeviceResponse, error) {
	name := req.Name
	if name != nil {
		name = new(strings.TrimSpace(*name))
	}
	dev, err := postgres.Row(ctx, d.db, scan, unknown(req.DeviceId), updateSQL, req.DeviceId, runtime.Tenant(ctx), name, req.PayloadConversion)
	return &pb.UpdateEndDeviceResponse{EndDevice: dev}, err
}

func (d devices) delete(ctx context.Context, req *pb.DeleteEndDeviceRequest) (*pb.DeleteEndDeviceResponse, error) {
	_, err := postgres.Row(ctx, d.db, scan, unknown(req.DeviceId), deleteSQL, req.DeviceId, runtime.Tenant(ctx))
	return &pb.DeleteEndDeviceResponse{}, err
}

func (d devices) list(ctx context.Context, req *pb.ListEndDevicesRequest) (*pb.ListEndDevicesResponse, error) {
	all, next, err := postgres.ListOwned(ctx, d.db, scan, key, req, pb.EndDeviceService_ListEndDevices_FullMethodName, listSQL)
	return &pb.ListEndDevicesResponse{EndDevices: all, NextPageToken: next}, err
}

func key(d *pb.EndDevice) page.Key { return page.Key{Time: d.CreatedAt.AsTime(), ID: d.DeviceId} }
