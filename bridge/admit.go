package bridge

import (
	"cmp"
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ponix/runtime/wire"
)

// admit decides whether a call may pass, and on whose behalf it goes on.
func (s *Server) admit(ctx context.Context, m protoreflect.MethodDescriptor, rpc string) (context.Context, wire.Principal, error) {
	if s.Tokens == nil {
		return ctx, wire.Principal{}, s.limits.admit(ctx, wire.Principal{})
	}
	// Who is refused is nobody, and is counted where the call comes from.
	principal, refused := s.Tokens.Verify(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err := cmp.Or(s.limits.admit(ctx, principal), refused); err != nil {
		return nil, principal, err
	}
	if !principal.May(m) {
		return nil, principal, wire.RoleRequired(rpc)
	}
	return wire.WithPrincipal(ctx, principal), principal, nil
}
