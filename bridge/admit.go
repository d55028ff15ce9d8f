package bridge

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ponix/runtime/wire"
)

// admit decides whether a call may pass, and on whose behalf it goes on.
// Callers are counted by their token's subject, those without a good token by
// where they are.
func (s *Server) admit(ctx context.Context, m protoreflect.MethodDescriptor, rpc string) (context.Context, error) {
	var from string
	if p, ok := peer.FromContext(ctx); ok {
		from = "at " + place(p.Addr)
	}
	if s.Tokens == nil {
		return ctx, s.limits.admit(from)
	}
	principal, refused := s.Tokens.Verify(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if refused != nil {
		if err := s.limits.admit(from); err != nil {
			return nil, err
		}
		return nil, refused
	}
	if err := s.limits.admit("is " + principal.Organization + "/" + principal.Subject); err != nil {
		return nil, err
	}
	if !principal.May(m) {
		return nil, wire.RoleRequired(rpc)
	}
	return wire.WithPrincipal(ctx, principal), nil
}
