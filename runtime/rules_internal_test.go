package runtime

import (
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
)

func TestHasRules(t *testing.T) {
	t.Parallel()
	for m, want := range map[proto.Message]bool{
		&envelopev1.RawEnvelope{}:                     false,
		&envelopev1.ConvertPayloadResponse{}:          false, // a Struct, which contains itself
		&envelopev1.ProcessedEnvelope{}:               true,
		&envelopev1.ListProcessedEnvelopesResponse{}:  true, // in what is repeated
		&envelopev1.ConvertPayloadRequest{}:           true, // of a oneof
		&envelopev1.WriteProcessedEnvelopesResponse{}: false,
	} {
		if d := m.ProtoReflect().Descriptor(); hasRules(d, map[protoreflect.FullName]bool{}) != want {
			t.Errorf("%s: not %v", d.FullName(), want)
		}
	}
}

// TestOnlyIDs holds what passes without protovalidate to what protovalidate says.
func TestOnlyIDs(t *testing.T) {
	t.Parallel()
	for m, want := range map[proto.Message]int{
		&organizationv1.GetOrganizationRequest{}:    1,
		&organizationv1.GetOrganizationResponse{}:   0,
		&organizationv1.ListOrganizationsRequest{}:  0, // the size of a page
		&enddevicev1.CreateEndDeviceRequest{}:       0, // a name, too
		&envelopev1.ConvertPayloadRequest{}:         0, // a oneof
		&enddevicev1.BatchGetEndDevicesRequest{}:    1, // a list of them
		&organizationv1.CreateOrganizationRequest{}: 0,
	} {
		if d := m.ProtoReflect().Descriptor(); len(onlyIDs(d)) != want {
			t.Errorf("%s: %v", d.FullName(), onlyIDs(d))
		}
	}
	v, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{"", "x", strings.Repeat("x", 64), strings.Repeat("x", 65), "dc27sm1ksdua0kastda0", "ö", "a\n", "\n", "\xff"}
	for c := range byte(128) {
		ids = append(ids, "a"+string(rune(c)))
	}
	rules := rulesOf(v, (&organizationv1.GetOrganizationRequest{}).ProtoReflect().Descriptor())
	for _, id := range ids {
		m := &organizationv1.GetOrganizationRequest{OrganizationId: id}
		if fast, err := rules.violations(m); err != nil || (fast == nil) != (v.Validate(m) == nil) {
			t.Errorf("%q: %v, but protovalidate says %v", id, fast, v.Validate(m))
		}
	}
	rules = rulesOf(v, (&enddevicev1.BatchGetEndDevicesRequest{}).ProtoReflect().Descriptor())
	for _, list := range [][]string{nil, {"x"}, {"x", "y", ""}, ids, slices.Repeat([]string{"x"}, 1000), slices.Repeat([]string{"x"}, 1001)} {
		m := &enddevicev1.BatchGetEndDevicesRequest{DeviceIds: list}
		if fast, err := rules.violations(m); err != nil || (fast == nil) != (v.Validate(m) == nil) {
			t.Errorf("%d ids: %v, but protovalidate says %v", len(list), fast, v.Validate(m))
		}
		if got := rules.good(m.ProtoReflect()); got != (v.Validate(m) == nil) {
			t.Errorf("%d ids: good is %v", len(list), got)
		}
	}
}
