package wire

import (
	"context"
	"encoding/base64"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 10 * time.Second

// Client calls functions over NATS: it is the connection for the generated clients,
// as grpc.ClientConn is for gRPC. One serves a connection for as long as that lives; it
// keeps up to 256 subscriptions there, one for each call that ran at the same time.
type Client struct {
	conn *nats.Conn

	mu   sync.Mutex
	idle []*line
}

// NewClient returns a client on nc. There is nothing to close.
func NewClient(nc *nats.Conn) *Client { return &Client{conn: nc} }

// Forward sends one request to the subject of an RPC and returns the encoded reply. The
// context's deadline, trace and principal and the metadata travel with it. Every error is
// a gRPC status: the function's own, unchanged, or UNAVAILABLE, DEADLINE_EXCEEDED, CANCELED
// or RESOURCE_EXHAUSTED for what happened on the way.
func (c *Client) Forward(ctx context.Context, subject string, md metadata.MD, payload []byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	msg := &nats.Msg{Subject: subject, Data: payload, Header: nats.Header{}}
	copyMetadata(msg.Header, md)
	writePrincipal(ctx, msg.Header)
	msg.Header[TimeoutHeader] = []string{time.Until(deadline).String()}
	InjectTrace(traceOf(ctx), msg.Header)
	reply, err := c.request(ctx, msg)
	if err != nil {
		return nil, callError(ctx, c.conn, msg, err)
	}
	if st := ReplyStatus(reply); st != nil {
		return nil, st.Err()
	}
	return reply.Data, nil
}

// binary is how the name of gRPC metadata ends whose values are bytes. A header is text,
// so that they are in base64 there, as on gRPC's own wire.
const binary = "-bin"

// copyMetadata turns gRPC metadata into headers of the same names, but for what
// belongs to one hop only.
func copyMetadata(to nats.Header, md metadata.MD) {
	for k, v := range md {
		switch {
		case strings.HasPrefix(k, ":"), strings.HasPrefix(k, "grpc-"), strings.HasPrefix(k, "nats-"), strings.HasPrefix(k, "ponix-"):
		case k == "content-type", k == "user-agent", k == "te", k == "authorization": // the trace is for InjectTrace
		case strings.HasSuffix(k, binary):
			for _, b := range v {
				to[k] = append(to[k], base64.StdEncoding.EncodeToString([]byte(b)))
			}
		default:
			to[k] = v
		}
	}
}

// IncomingMetadata returns what copyMetadata of the caller put into h.
func IncomingMetadata(h nats.Header) metadata.MD {
	var md metadata.MD
	for k, v := range h {
		if k != strings.ToLower(k) || k == traceParent || k == traceState {
			continue
		}
		if md == nil {
			md = metadata.MD{}
		}
		if strings.HasSuffix(k, binary) {
			v = slices.Clone(v)
			for i := range v {
				if b, err := base64.StdEncoding.DecodeString(v[i]); err == nil { // of whoever has not encoded it, as it is
					v[i] = string(b)
				}
			}
		}
		md[k] = v
	}
	return md
}

func callError(ctx context.Context, nc *nats.Conn, msg *nats.Msg, err error) error {
	service := strings.TrimSuffix(msg.Subject, path.Ext(msg.Subject))
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return status.Errorf(codes.Unavailable, "no instance serves %s", service)
	case errors.Is(err, nats.ErrReconnectBufExceeded): // there is no buffer: see config.NATS.Connect
		return status.Error(codes.Unavailable, "NATS is not connected")
	case errors.Is(err, nats.ErrMaxPayload):
		return status.Errorf(codes.ResourceExhausted, "the request has %d bytes with its headers, NATS takes %d at most", msg.Size()-len(msg.Subject)-len(msg.Reply), nc.MaxPayload())
	case errors.Is(ctx.Err(), context.Canceled):
		return status.Error(codes.Canceled, "the call was cancelled")
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return status.Errorf(codes.DeadlineExceeded, "%s did not answer in time", service)
	}
	return status.Errorf(codes.Unavailable, "NATS: %v", err)
}

// Invoke is one call of a generated client. The context's outgoing metadata goes with
// it; options are ignored.
func (c *Client) Invoke(ctx context.Context, rpc string, args, reply any, _ ...grpc.CallOption) error {
	payload, err := proto.Marshal(args.(proto.Message))
	if err != nil {
		return status.Errorf(codes.Internal, "encode the request: %v", err)
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	data, err := c.Forward(ctx, Subject(rpc), md, payload)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(data, reply.(proto.Message)); err != nil {
		return status.Errorf(codes.Internal, "decode the reply: %v", err)
	}
	return nil
}

// NewStream fails: streams are not carried over NATS.
func (*Client) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "streams are not carried over NATS")
}
