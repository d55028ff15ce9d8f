// Package gateway manages gateways: the MQTT brokers that devices publish to.
//
// An organization's gateways are deleted with it. Where only the organization was, by
// SQL, they can still be read one by one, and deleted; they are neither listed nor
// changed.
package gateway

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/xid"
	"google.golang.org/grpc/codes"

	"ponix/functions/internal/page"
	"ponix/functions/internal/postgres"
	"ponix/functions/internal/row"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime"
)

// New returns the function. It answers every method of GatewayService.
func New(db *pgxpool.Pool) runtime.Function {
	g := gateways{db}
	return runtime.Func("gateway",
		runtime.Endpoint(pb.GatewayService_CreateGateway_FullMethodName, g.create,
			func(r *pb.CreateGatewayRequest) []*runtime.Violation { return checkConfig(r.Type, r.GetEmqxConfig()) }),
		runtime.Endpoint(pb.GatewayService_GetGateway_FullMethodName, g.get),
		runtime.Endpoint(pb.GatewayService_ListGateways_FullMethodName, g.list,
			page.CheckOwned[*pb.ListGatewaysRequest](pb.GatewayService_ListGateways_FullMethodName)),
		runtime.Endpoint(pb.GatewayService_UpdateGateway_FullMethodName, g.update,
			func(r *pb.UpdateGatewayRequest) []*runtime.Violation { return checkConfig(r.Type, r.GetEmqxConfig()) }),
		runtime.Endpoint(pb.GatewayService_DeleteGateway_FullMethodName, g.delete)).
		Described("gateways: MQTT brokers that devices publish to")
}

type gateways struct{ db *pgxpool.Pool }

func scan(r pgx.CollectableRow) (*pb.Gateway, error) {
	g := &pb.Gateway{}
	var status, kind, config string
	if err := r.Scan(&g.GatewayId, &g.OrganizationId, &g.Name, &status, &kind, &config,
		postgres.Timestamp(&g.CreatedAt), postgres.Timestamp(&g.UpdatedAt), postgres.Timestamp(&g.DeletedAt)); err != nil {
		return nil, err
	}
	return g, row.Gateway(g, status, kind, config)
}

func unknown(id string) error {
	return runtime.Error(codes.NotFound, "GATEWAY_NOT_FOUND", "gateway %q does not exist", id)
}

func (g gateways) create(ctx context.Context, req *pb.CreateGatewayRequest) (*pb.CreateGatewayResponse, error) {
	config, err := encodeConfig(req.GetEmqxConfig())
	if err != nil {
		return nil, err
	}
	gw, err := postgres.Row(ctx, g.db, scan, runtime.UnknownOrganization(req.OrganizationId), createSQL, xid.New().String(),
		req.OrganizationId, strings.TrimSpace(req.Name), pb.GatewayStatus_GATEWAY_STATUS_ACTIVE.String(), req.Type.String(), config)
	return &pb.CreateGatewayResponse{Gateway: gw}, err
}

func (g gateways) get(ctx context.Context, req *pb.GetGatewayRequest) (*pb.GetGatewayResponse, error) {
	gw, err := postgres.Row(ctx, g.db, scan, unknown(req.GatewayId), getSQL, req.GatewayId, runtime.Tenant(ctx))
	return &pb.GetGatewayResponse{Gateway: gw}, err
}

func (g gateways) update(ctx context.Context, req *pb.UpdateGatewayRequest) (*pb.UpdateGatewayResponse, error) {
	config, err := encodeConfig(req.GetEmqxConfig())
	if err != nil {
		return nil, err
	}
	gw, err := postgres.Row(ctx, g.db, scan, unknown(req.GatewayId), updateSQL,
		req.GatewayId, runtime.Tenant(ctx), strings.TrimSpace(req.Name), req.Status.String(), req.Type.String(), config)
	return &pb.UpdateGatewayResponse{Gateway: gw}, err
}

func (g gateways) delete(ctx context.Context, req *pb.DeleteGatewayRequest) (*pb.DeleteGatewayResponse, error) {
	_, err := postgres.Row(ctx, g.db, scan, unknown(req.GatewayId), deleteSQL, req.GatewayId, runtime.Tenant(ctx), req.OrganizationId)
	return &pb.DeleteGatewayResponse{}, err
}

func (g gateways) list(ctx context.Context, req *pb.ListGatewaysRequest) (*pb.ListGatewaysResponse, error) {
	all, next, err := postgres.ListOwned(ctx, g.db, scan, key, req, pb.GatewayService_ListGateways_FullMethodName, listSQL)
	return &pb.ListGatewaysResponse{Gateways: all, NextPageToken: next}, err
}

func key(g *pb.Gateway) page.Key { return page.Key{Time: g.CreatedAt.AsTime(), ID: g.GatewayId} }
