package bridge

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
)

// patience is how long the bridge waits for clients. One that is gone without a word
// is noticed within twice Config.Keepalive, and its connection closed; so is one that
// has not called for half an hour, which its client opens again when it calls. A call
// ends with its deadline, and after Config.MaxTimeout at the latest, also where its
// message does not come.
func (c Config) patience() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: c.Keepalive, Timeout: c.Keepalive, MaxConnectionIdle: 30 * time.Minute}),
		grpc.InTapHandle(func(ctx context.Context, call *tap.Info) (context.Context, error) {
			ctx = context.WithValue(ctx, incoming{}, call.Header)
			most := c.Timeout
			at, ok := ctx.Deadline()
			if ok {
				most = c.MaxTimeout
			}
			if ok && time.Until(at) <= most || !strings.HasPrefix(call.FullMethodName, "/ponix.") {
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
