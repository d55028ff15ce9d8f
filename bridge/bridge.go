// Package bridge is the gRPC server in front of the functions. It serves every
// service that is linked in as a descriptor and hands each call on as a NATS
// request, without decoding it: it knows no method by name.
package bridge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"  // for callers that compress
	_ "google.golang.org/grpc/encoding/proto" // the codec that the pass-through codec falls back to
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"ponix/bridge/token"
	_ "ponix/proto" // the services to serve
	"ponix/runtime/wire"
)

// Config is what the operator may change. Conn is required.
type Config struct {
	Conn       *nats.Conn
	MaxMessage int           // bytes of a request or reply; default 8 MiB
	Timeout    time.Duration // of a call whose caller sets no deadline; default wire.DefaultTimeout
	MaxTimeout time.Duration // of a call, whatever its caller asks for; default 2 min, as in nats/conf/accounts.conf
	Keepalive  time.Duration // of silence before a client is asked whether it is there; default 30 s
	MaxAge     time.Duration // of a connection, after which its client makes another; default 30 min
	Grace      time.Duration // to finish calls on shutdown; default 20 s
	Logger     *slog.Logger  // default slog.Default()

	TLS        *tls.Config     // nil: plaintext
	Tokens     *token.Verifier // who callers are; nil: anybody is let in
	Reflection bool            // whether the services are listed although Tokens is set
	Rate       float64         // calls a second of each caller; 0: any number
	Burst      int             // calls that a caller may make at once; default: a second's
}

// Server is a running bridge.
type Server struct {
	Config
	grpc     *grpc.Server
	client   *wire.Client
	health   *health.Server
	limits   *limits
	room     room
	arriving *arriving
	warn     rate.Sometimes // of calls that NATS does not carry: they must not fill the disk
	addr     net.Addr
	failed   chan error
	stop     context.CancelFunc
	names    []string // of services, and that of all: empty
}

// workers are goroutines that stay for calls, with stacks that have grown already: a
// call waits for its answer most of the time, so that many more than processors are
// needed. Calls beyond them get a goroutine of their own.
const workers = 128

// Start serves on ln until Stop. Health is SERVING while NATS is connected.
func Start(ln net.Listener, c Config) (*Server, error) {
	if c.Conn == nil {
		return nil, errors.New("bridge: Config.Conn is required")
	}
	c.MaxMessage = cmp.Or(c.MaxMessage, 8<<20)
	c.Timeout = cmp.Or(c.Timeout, wire.DefaultTimeout)
	c.MaxTimeout = cmp.Or(c.MaxTimeout, max(c.Timeout, 2*time.Minute))
	c.Keepalive = cmp.Or(c.Keepalive, 30*time.Second)
	c.MaxAge = cmp.Or(c.MaxAge, 30*time.Minute)
	c.Grace = cmp.Or(c.Grace, 20*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	limits, err := newLimits(c.Rate, c.Burst)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Config: c, client: wire.NewClient(c.Conn), health: health.NewServer(), limits: limits, room: newRoom(inHand), arriving: newArriving(inHand, c.MaxMessage), names: []string{""}, warn: rate.Sometimes{Interval: time.Second}, addr: ln.Addr(), failed: make(chan error, 1), stop: cancel}
	s.grpc = grpc.NewServer(append(c.patience(),
		grpc.Creds(c.credentials()),
		grpc.ForceServerCodecV2(passThrough{encoding.GetCodecV2("proto")}),
		grpc.MaxRecvMsgSize(c.MaxMessage), grpc.MaxSendMsgSize(c.MaxMessage),
		grpc.MaxHeaderListSize(64<<10), grpc.MaxConcurrentStreams(1000),
		grpc.UnknownServiceHandler(unknown), grpc.StreamInterceptor(untilStop(ctx)),
		grpc.NumStreamWorkers(workers),
	)...)
	if err := s.register("ponix."); err != nil {
		cancel()
		return nil, err
	}
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection || c.Tokens == nil {
		reflection.Register(s.grpc)
	}
	go s.followConnection(ctx)
	go func() { s.failed <- s.grpc.Serve(ln) }()
	return s, nil
}

func (c Config) credentials() credentials.TransportCredentials {
	if c.TLS == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(c.TLS)
}

// Addr is the address that the bridge listens on.
func (s *Server) Addr() net.Addr { return s.addr }

// Failed receives the error of a server that stopped by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Stop refuses new calls and waits for those that run, up to Config.Grace.
func (s *Server) Stop() {
	s.health.Shutdown()
	s.stop()
	cut := time.AfterFunc(s.Grace, s.grpc.Stop)
	defer cut.Stop()
	s.grpc.GracefulStop()
}

// register adds every linked service whose name starts with prefix.
func (s *Server) register(prefix string) (err error) {
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			sd := f.Services().Get(i)
			if !strings.HasPrefix(string(sd.FullName()), prefix) {
				continue
			}
			var d *grpc.ServiceDesc
			if d, err = s.describe(sd); err != nil {
				return false
			}
			s.grpc.RegisterService(d, nil)
			s.names = append(s.names, string(sd.FullName()))
			s.health.SetServingStatus(string(sd.FullName()), healthv1.HealthCheckResponse_SERVING)
		}
		return true
	})
	return err
}

// describe makes grpc's description of a service out of its descriptor.
func (s *Server) describe(sd protoreflect.ServiceDescriptor) (*grpc.ServiceDesc, error) {
	d := &grpc.ServiceDesc{ServiceName: string(sd.FullName()), Metadata: sd.ParentFile().Path()}
	for i := range sd.Methods().Len() {
		m := sd.Methods().Get(i)
		if len(wire.Roles(m)) == 0 {
			return nil, fmt.Errorf("bridge: rpc %s does not say who may call it: it needs the option ponix.auth.v1.access", m.FullName())
		}
		if m.IsStreamingClient() || m.IsStreamingServer() {
			continue // not carried over NATS
		}
		d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: string(m.Name()), Handler: s.unary(m)})
	}
	return d, nil
}

func (s *Server) unary(m protoreflect.MethodDescriptor) grpc.MethodHandler {
	rpc := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	subject := wire.Subject(rpc)
	call := func(ctx context.Context, in any) (any, error) { return s.forward(ctx, subject, *in.(*frame)) }
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		ctx, who, err := s.admit(ctx, m, rpc)
		if err != nil {
			return nil, err
		}
		arrived, err := s.arriving.enter(ctx, who)
		if err != nil {
			return nil, err
		}
		in := new(frame)
		err = decode(in)
		arrived()
		if err != nil {
			return nil, err
		}
		if intercept == nil {
			return call(ctx, in)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: rpc}, call)
	}
}

// forward sends one call over NATS. The deadline (see patience), the trace and the
// metadata of the caller go with it.
func (s *Server) forward(ctx context.Context, subject string, in frame) (*frame, error) {
	leave, err := s.room.enter(ctx, in)
	if err != nil {
		return nil, err
	}
	defer leave()
	md := metadataOf(ctx)
	reply, err := s.client.Forward(wire.ExtractTrace(ctx, nats.Header(md)), subject, md, in)
	if err != nil {
		if status.Code(err) == codes.Unavailable {
			s.warn.Do(func() { s.Logger.Warn("call", "rpc", subject, "error", err) })
		}
		return nil, err
	}
	out := frame(reply)
	return &out, nil
}

// unknown answers calls to services that no descriptor names.
func unknown(_ any, stream grpc.ServerStream) error {
	rpc, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "Ponix has no rpc %s", rpc)
}

// untilStop ends the streams, of health and of reflection, when ctx ends: they would hold
// up a graceful stop.
func untilStop(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		ended := make(chan error, 1)
		go func() { ended <- handle(srv, stream) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return status.Error(codes.Unavailable, "the bridge is stopping")
		}
	}
}

// followConnection keeps the health, overall and of each service, in step with the NATS connection.
func (s *Server) followConnection(ctx context.Context) {
	changed := s.Conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer s.Conn.RemoveStatusListener(changed)
	for {
		state := healthv1.HealthCheckResponse_NOT_SERVING
		if s.Conn.IsConnected() {
			state = healthv1.HealthCheckResponse_SERVING
		}
		for _, name := range s.names {
			s.health.SetServingStatus(name, state)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
