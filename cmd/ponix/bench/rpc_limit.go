package bench

import (
	"context"
	"path"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/wire"
)

const (
	rawSubject   = "bench.raw"
	microSubject = "bench.micro"
)

// bareAnswers answers requests on a subscription, and on an endpoint of nats.go's
// micro package: decoded, handled, encoded, one at a time. It leaves out validation,
// deadlines, traces, statuses, logs and the pool that lets handlers wait for
// something.
func (w *World) bareAnswers() error {
	nc, err := w.dial()
	if err != nil {
		return err
	}
	if _, err := nc.Subscribe(rawSubject, func(m *nats.Msg) {
		if data, err := answer(m.Data); err == nil {
			m.Respond(data) //nolint:errcheck // the caller's time runs out
		}
	}); err != nil {
		return err
	}
	s, err := micro.AddService(nc, micro.Config{Name: "bare", Version: "1.0.0"})
	if err != nil {
		return err
	}
	if err := s.AddEndpoint("get", micro.HandlerFunc(func(r micro.Request) {
		if data, err := answer(r.Data()); err == nil {
			r.Respond(data) //nolint:errcheck // likewise
		}
	}), micro.WithEndpointSubject(microSubject)); err != nil {
		return err
	}
	return nc.Flush()
}

func answer(request []byte) ([]byte, error) {
	req := &organizationv1.GetOrganizationRequest{}
	if err := proto.Unmarshal(request, req); err != nil {
		return nil, err
	}
	resp, err := getOrganization(context.Background(), req)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(resp)
}

// natsCall is a request without headers: neither deadline nor trace.
func natsCall(nc *nats.Conn, subject string) call {
	return func(context.Context) error {
		data, err := proto.Marshal(&organizationv1.GetOrganizationRequest{OrganizationId: organization})
		if err != nil {
			return err
		}
		m, err := nc.Request(subject, data, 5*time.Second)
		if err != nil {
			return err
		}
		return proto.Unmarshal(m.Data, &organizationv1.GetOrganizationResponse{})
	}
}

// direct is the method served by grpc itself, with no NATS in between: the limit of
// a bridge's throughput.
type direct struct {
	organizationv1.UnimplementedOrganizationServiceServer
}

func (direct) GetOrganization(ctx context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
	return getOrganization(ctx, req)
}

// bytesOnly leaves requests and replies as they are.
type bytesOnly struct{}

func (bytesOnly) Name() string { return "proto" }
func (bytesOnly) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesOnly) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// minimalBridge serves a bridge with nothing but the call: one method,
// its bytes passed through to our own endpoint over NATS and back. It leaves out who
// the caller is and what it may, limits, trace, deadline, metadata, statuses, health
// and reflection.
func (w *World) minimalBridge(context.Context) (addr string, err error) {
	nc, err := w.dial()
	if err != nil {
		return "", err
	}
	rpc := organizationv1.OrganizationService_GetOrganization_FullMethodName
	subject := wire.Subject(rpc)
	s := grpc.NewServer(grpc.ForceServerCodecV2(bytesOnly{}))
	s.RegisterService(&grpc.ServiceDesc{ServiceName: organizationv1.OrganizationService_ServiceDesc.ServiceName, Methods: []grpc.MethodDesc{{
		MethodName: path.Base(rpc),
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			m, err := nc.Request(subject, request, 5*time.Second)
			if err != nil {
				return nil, err
			}
			return &m.Data, nil
		},
	}}}, nil)
	return serveGRPC(s)
}
