package convert

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/wire"
)

// FuzzRawEnvelope holds whatever is published as a raw envelope to: it cannot be
// decoded, or is refused with INVALID_ARGUMENT that names the field, or it has both ids
// and a time in whole microseconds, and is the same after another way over the wire.
func FuzzRawEnvelope(f *testing.F) {
	for _, e := range []*envelopev1.RawEnvelope{
		{},
		{OrganizationId: "o", DeviceId: "d"},
		{OrganizationId: "o", DeviceId: "d", Payload: []byte{1, 0x67, 1, 0x10}, ReceivedAt: timestamppb.New(time.Unix(1_700_000_000, 1_234))},
		{OrganizationId: "{", DeviceId: "d", ReceivedAt: &timestamppb.Timestamp{Seconds: 1 << 60}},
	} {
		for _, asJSON := range []bool{false, true} {
			if data, err := wire.Marshal(e, asJSON); err == nil { // the last has no JSON form
				f.Add(data)
			}
		}
	}
	stored := time.Unix(1_800_000_000, 999)
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := &envelopev1.RawEnvelope{}
		if err := wire.Unmarshal(data, raw); err != nil {
			return
		}
		at, err := receivedAt(raw, stored)
		if err != nil {
			if s := status.Convert(err); s.Code() != codes.InvalidArgument || !strings.Contains(s.Message(), "_") {
				t.Fatalf("%s: %v", hex.EncodeToString(data), err)
			}
			return
		}
		if raw.OrganizationId == "" || raw.DeviceId == "" || at.Nanosecond()%1000 != 0 || timestamppb.New(at).CheckValid() != nil {
			t.Fatalf("%s is taken, at %v", hex.EncodeToString(data), at)
		}
		again := &envelopev1.RawEnvelope{}
		for _, asJSON := range []bool{false, true} {
			encoded, err := wire.Marshal(raw, asJSON)
			if err != nil {
				t.Fatal(err)
			}
			if err := wire.Unmarshal(encoded, again); err != nil {
				t.Fatal(err)
			}
			got, err := receivedAt(again, stored)
			if err != nil || !got.Equal(at) || !proto.Equal(known(again), known(raw)) {
				t.Fatalf("%s became %s, %v, %v", hex.EncodeToString(data), hex.EncodeToString(encoded), got, err)
			}
		}
	})
}

// known is an envelope without what JSON does not carry: the fields that nobody knows.
func known(e *envelopev1.RawEnvelope) *envelopev1.RawEnvelope {
	e = proto.CloneOf(e)
	e.ProtoReflect().SetUnknown(nil)
	if e.ReceivedAt != nil {
		e.ReceivedAt.ProtoReflect().SetUnknown(nil)
	}
	return e
}
