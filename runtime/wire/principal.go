package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "ponix/proto/ponix/auth/v1"
)

// The headers that say on whose behalf a call is made. A call without them is
// made by Ponix itself, or by an operator, and is not restricted: who may send
// requests over NATS is up to the server's permissions.
const (
	CallerHeader       = "Ponix-Caller"
	OrganizationHeader = "Ponix-Organization"
	RoleHeader         = "Ponix-Role"
)

// Principal is on whose behalf a call is made.
type Principal struct {
	Subject      string // who it is
	Organization string // that it belongs to; empty for an admin, and only there
	Role         authv1.Role
}

// IsID tells what the rule ponix.validate.v1.id asks: 1 to 64 letters, digits, '_' or
// '-'.
func IsID(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// maxSubject is the bytes of a subject at most.
const maxSubject = 255

// ParseRole returns the role of a name: admin, member or device.
func ParseRole(name string) (authv1.Role, error) {
	for _, r := range []authv1.Role{authv1.Role_ROLE_ADMIN, authv1.Role_ROLE_MEMBER, authv1.Role_ROLE_DEVICE} {
		if RoleName(r) == name {
			return r, nil
		}
	}
	return 0, errors.New("the role is none of admin, member and device")
}

// RoleName is the name of a role: admin, member or device.
func RoleName(r authv1.Role) string { return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_")) }

// Validate tells what is wrong with p. An admin of one organization, and a
// member of none, would reach more than anybody meant.
func (p Principal) Validate() error {
	odd := func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) }
	switch {
	case p.Subject == "", len(p.Subject) > maxSubject, strings.ContainsFunc(p.Subject, odd), strings.TrimSpace(p.Subject) != p.Subject:
		return fmt.Errorf("the subject must have 1 to %d bytes of text, and no space at either end", maxSubject)
	case p.Role == authv1.Role_ROLE_UNSPECIFIED:
		return errors.New("there is no role")
	case p.Role == authv1.Role_ROLE_ADMIN && p.Organization != "":
		return errors.New("an admin belongs to no organization")
	case p.Role != authv1.Role_ROLE_ADMIN && p.Organization == "":
		return errors.New("all but admins belong to an organization")
	case p.Role != authv1.Role_ROLE_ADMIN && !IsID(p.Organization):
		return errors.New("the organization must be an id, 1 to 64 letters, digits, '_' or '-'")
	}
	return nil
}

// May tells whether p's role is among those that the method names.
func (p Principal) May(m protoreflect.MethodDescriptor) bool {
	return slices.Contains(Roles(m), p.Role)
}

// Device is the one device that p speaks for, empty for any: a caller with the
// role of a device is the device of that id. A subject that can be no id, for
// example fleet:north, is a sender for every device of its organization.
func (p Principal) Device() string {
	if p.Role == authv1.Role_ROLE_DEVICE && IsID(p.Subject) {
		return p.Subject
	}
	return ""
}

// Roles are those that a method's option ponix.auth.v1.access names.
func Roles(m protoreflect.MethodDescriptor) []authv1.Role {
	access, _ := proto.GetExtension(m.Options(), authv1.E_Access).(*authv1.Access)
	return access.GetRoles()
}

type principalKey struct{}

// WithPrincipal returns a context whose calls are made on behalf of p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

func writePrincipal(ctx context.Context, h nats.Header) {
	if p, ok := ctx.Value(principalKey{}).(Principal); ok {
		h[CallerHeader], h[OrganizationHeader], h[RoleHeader] = []string{p.Subject}, []string{p.Organization}, []string{RoleName(p.Role)}
	}
}

// ReadPrincipal returns on whose behalf a request is made, nil for nobody's.
func ReadPrincipal(h nats.Header) (*Principal, error) {
	if len(h[CallerHeader])+len(h[OrganizationHeader])+len(h[RoleHeader]) == 0 {
		return nil, nil
	}
	role, err := ParseRole(h.Get(RoleHeader))
	if err != nil {
		return nil, err
	}
	p := &Principal{h.Get(CallerHeader), h.Get(OrganizationHeader), role}
	return p, p.Validate()
}
