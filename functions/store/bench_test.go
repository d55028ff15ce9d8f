package store

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// BenchmarkRow is what each envelope of a batch costs before the insert.
func BenchmarkRow(b *testing.B) {
	data, err := structpb.NewStruct(map[string]any{
		"temperature_1": 27.2, "relative_humidity_2": 65.5, "analog_input_3": 3.3, "barometer_4": 1013.2,
		"gps_6": map[string]any{"latitude": 42.3519, "longitude": -87.9094, "altitude": 10.0},
	})
	if err != nil {
		b.Fatal(err)
	}
	now := timestamppb.New(time.Unix(1_700_000_000, 0))
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(&envelopev1.ProcessedEnvelope{
		EndDeviceId: "dc27sm1ksdua0kastdag", OrganizationId: "dc27sm1ksdua0kastda0", OccurredAt: now, ProcessedAt: now, EnvelopeId: "e", Data: data,
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, read := range map[string]func() bool{
		"scanned": func() bool { _, ok := scan(encoded); return ok },
		"decoded": func() bool {
			var e envelopev1.ProcessedEnvelope
			if proto.Unmarshal(encoded, &e) != nil {
				return false
			}
			_, err := newRow(&e)
			return err == nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !read() {
					b.Fatal("it is not read")
				}
			}
		})
	}
}
