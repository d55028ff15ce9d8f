package wire_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	authv1 "ponix/proto/ponix/auth/v1"
	"ponix/runtime/wire"
)

func TestIsID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"0", "9", "A", "Z", "a", "z", "_", "-", strings.Repeat("x", 64)} {
		if !wire.IsID(s) {
			t.Errorf("%q is none", s)
		}
	}
	for _, s := range []string{"", "/", ":", "@", "[", "`", "{", ".", "*", ">", " ", "é", "a\n", strings.Repeat("x", 65)} {
		if wire.IsID(s) {
			t.Errorf("%q is one", s)
		}
	}
}

// TestReadPrincipal holds who is believed to be a caller, by the headers of a request.
func TestReadPrincipal(t *testing.T) {
	t.Parallel()
	const caller, organization, role = wire.CallerHeader, wire.OrganizationHeader, wire.RoleHeader
	long := strings.Repeat("x", 255)
	for name, test := range map[string]struct {
		headers nats.Header
		want    *wire.Principal // nil for an error
	}{
		"a member":                      {nats.Header{caller: {long}, organization: {"o1"}, role: {"member"}}, &wire.Principal{Subject: long, Organization: "o1", Role: authv1.Role_ROLE_MEMBER}},
		"a device":                      {nats.Header{caller: {"d1"}, organization: {"o1"}, role: {"device"}}, &wire.Principal{Subject: "d1", Organization: "o1", Role: authv1.Role_ROLE_DEVICE}},
		"an admin":                      {nats.Header{caller: {"root"}, role: {"admin"}}, &wire.Principal{Subject: "root", Role: authv1.Role_ROLE_ADMIN}},
		"only a caller":                 {nats.Header{caller: {"ada"}}, nil},
		"only an organization":          {nats.Header{organization: {"o1"}}, nil},
		"only a role":                   {nats.Header{role: {"admin"}}, nil},
		"no role":                       {nats.Header{caller: {"ada"}, organization: {"o1"}}, nil},
		"another role":                  {nats.Header{caller: {"ada"}, organization: {"o1"}, role: {"unspecified"}}, nil},
		"an admin of an organization":   {nats.Header{caller: {"root"}, organization: {"o1"}, role: {"admin"}}, nil},
		"a member of none":              {nats.Header{caller: {"ada"}, role: {"member"}}, nil},
		"an organization that is no id": {nats.Header{caller: {"ada"}, organization: {"o.>"}, role: {"member"}}, nil},
		"a long subject":                {nats.Header{caller: {long + "x"}, organization: {"o1"}, role: {"member"}}, nil},
		"a subject with a line":         {nats.Header{caller: {"a\nb"}, organization: {"o1"}, role: {"member"}}, nil},
		"a subject that is no text":     {nats.Header{caller: {"a\xff"}, organization: {"o1"}, role: {"member"}}, nil},
		"a subject with a space":        {nats.Header{caller: {"ada "}, organization: {"o1"}, role: {"member"}}, nil},
	} {
		p, err := wire.ReadPrincipal(test.headers)
		if (err == nil) != (test.want != nil) || err == nil && *p != *test.want {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	if p, err := wire.ReadPrincipal(nats.Header{"tenant": {"x"}}); p != nil || err != nil {
		t.Errorf("nobody: %v, %v", p, err)
	}
}

// TestDevice holds for which one device a caller speaks.
func TestDevice(t *testing.T) {
	t.Parallel()
	for p, want := range map[wire.Principal]string{
		{Subject: "d1", Role: authv1.Role_ROLE_DEVICE}:          "d1",
		{Subject: "fleet:north", Role: authv1.Role_ROLE_DEVICE}: "",
		{Subject: "ada", Role: authv1.Role_ROLE_MEMBER}:         "",
	} {
		if got := p.Device(); got != want {
			t.Errorf("%v speaks for %q", p, got)
		}
	}
}
