package runtime

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The fields that say whose something is, in every message of Ponix.
const (
	organizationField = "organization_id"
	deviceField       = "device_id"
)

// UnknownOrganization is what callers get for an organization that does not
// exist, is deleted, or is another tenant's.
func UnknownOrganization(id string) error {
	return Error(codes.NotFound, "ORGANIZATION_NOT_FOUND", "organization %q does not exist", id)
}

// confineRequest holds what a request names to its caller: every organization
// must be the caller's own, and every device that of a caller that is one.
// Nothing is looked up, so the answer tells nothing of what exists.
func confineRequest(ctx context.Context, req proto.Message) error {
	p, ok := PrincipalFrom(ctx)
	if !ok {
		return nil
	}
	if id := otherThan(p.Organization, organizationField, req.ProtoReflect()); id != "" {
		return UnknownOrganization(id)
	}
	if id := otherThan(p.Device(), deviceField, req.ProtoReflect()); id != "" {
		return Error(codes.PermissionDenied, "OTHER_DEVICE", "the caller is not device %q", id)
	}
	return nil
}

// confineReply is the net below the functions: a row of another tenant never
// leaves, whatever a handler has forgotten.
func confineReply(ctx context.Context, resp proto.Message) error {
	if tenant := Tenant(ctx); otherThan(tenant, organizationField, resp.ProtoReflect()) != "" {
		return fmt.Errorf("%s holds a row that is not of organization %s", resp.ProtoReflect().Descriptor().FullName(), tenant)
	}
	return nil
}

// otherThan returns the first value of the named field, at any depth of m, that
// is neither empty nor own. An empty own means any.
func otherThan(own string, field protoreflect.Name, m protoreflect.Message) (other string) {
	if own == "" {
		return ""
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == field && f.Kind() == protoreflect.StringKind && !f.IsList():
			if s := v.String(); s != own {
				other = s
			}
		case f.IsMap():
			if ours(f.MapValue().Message()) {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					other = otherThan(own, field, v.Message())
					return other == ""
				})
			}
		case !ours(f.Message()):
		case f.IsList():
			for i := 0; i < v.List().Len() && other == ""; i++ {
				other = otherThan(own, field, v.List().Get(i).Message())
			}
		default:
			other = otherThan(own, field, v.Message())
		}
		return other == ""
	})
	return other
}

// ours tells whether a field is a message that may name somebody: those of
// Google, such as a payload's Struct, do not.
func ours(m protoreflect.MessageDescriptor) bool {
	return m != nil && !strings.HasPrefix(string(m.FullName()), "google.")
}
