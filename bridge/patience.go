package bridge

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
)

// patience is how long the bridge waits for clients. One that is gone without a word
// is noticed within twice Config.Keepalive, and its connection closed; so is one that
// has not called for half an hour, which its client opens again when it calls. A client
// may ask the same of the bridge six times as often; gRPC by itself takes every five minutes
// for a flood, and ends the connection with the calls that run on it. A call ends with its
// deadline, and after Config.MaxTimeout at the latest, also where its
// message does not come. Only streams, of health and of reflection, may stay longer: so many.
//
// A connection is told to take no more calls after Config.MaxAge, and closed when those that
// run have ended. Its client makes another: behind a balancer, calls find the instances that
// were started since, and a client's certificate is looked at again.
func (c Config) patience() []grpc.ServerOption {
	others := &strangers{at: map[string]int{}}
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: c.Keepalive, Timeout: c.Keepalive, MaxConnectionIdle: 30 * time.Minute,
			MaxConnectionAge: c.MaxAge, MaxConnectionAgeGrace: c.MaxTimeout, // by when streams end, too
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.Keepalive / 6, PermitWithoutStream: true}),
		grpc.InTapHandle(func(ctx context.Context, call *tap.Info) (context.Context, error) {
			ours := strings.HasPrefix(call.FullMethodName, "/ponix.")
			if !ours {
				if err := others.enter(ctx); err != nil {
					return ctx, err
				}
			}
			ctx = context.WithValue(ctx, incoming{}, call.Header)
			most := c.Timeout
			at, ok := ctx.Deadline()
			if ok {
				most = c.MaxTimeout
			}
			if ok && time.Until(at) <= most || !ours && call.FullMethodName != healthv1.Health_Check_FullMethodName {
				return ctx, nil
			}
			limited, cancel := context.WithTimeout(ctx, most)
			context.AfterFunc(ctx, cancel) // when the call has ended
			return limited, nil
		}),
	}
}

// incoming is the key of the metadata that a call came with. What grpc gives to a handler
// is a copy of it, made anew each time.
type incoming struct{}

// metadataOf returns that metadata, which must not be changed.
func metadataOf(ctx context.Context) metadata.MD {
	md, _ := ctx.Value(incoming{}).(metadata.MD)
	return md
}
