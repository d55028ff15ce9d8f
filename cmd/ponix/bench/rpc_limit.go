package bench

import (
	"context"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	organizationv1 "ponix/proto/ponix/organization/v1"
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

// directServer returns a client of such a server.
func (w *World) directServer() (*grpc.ClientConn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer()
	organizationv1.RegisterOrganizationServiceServer(s, direct{})
	go s.Serve(ln) //nolint:errcheck // calls fail
	w.closers = append(w.closers, func() error { s.Stop(); return nil })
	return dialGRPC(ln.Addr().String())
}
