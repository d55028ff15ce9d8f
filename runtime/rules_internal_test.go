package runtime

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	envelopev1 "ponix/proto/ponix/envelope/v1"
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
