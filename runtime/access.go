package runtime

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ponix/runtime/wire"
)

// Principal is on whose behalf a call is made.
type Principal = wire.Principal

type principalKey struct{}

// PrincipalFrom returns on whose behalf a call is made; false where it is
// Ponix's own, or authentication is off.
func PrincipalFrom(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// Tenant is the organization that a call may not leave, empty for none. A
// handler that finds a row by its id holds the row to it: one of another tenant
// does not exist. What a request names as organization_id has been held to it
// already.
func Tenant(ctx context.Context) string {
	p, _ := PrincipalFrom(ctx)
	return p.Organization
}

// AsCaller returns a context whose calls of other functions are made on behalf
// of the caller. Without it they are Ponix's own.
func AsCaller(ctx context.Context) context.Context {
	if p, ok := PrincipalFrom(ctx); ok {
		return wire.WithPrincipal(ctx, p)
	}
	return ctx
}

// access lets through whom the method's option names.
func access(method protoreflect.MethodDescriptor, next handler) handler {
	return func(ctx context.Context, c *call) ([]byte, error) {
		p, err := wire.ReadPrincipal(c.header)
		switch {
		case err != nil:
			return nil, Error(codes.PermissionDenied, "CALLER_INVALID", "the headers of the caller: %v", err)
		case p == nil:
			return next(ctx, c)
		case !p.May(method):
			return nil, wire.RoleRequired(c.source)
		}
		return next(context.WithValue(ctx, principalKey{}, *p), c)
	}
}
