package runtime

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// TestTooManyItems holds that a request with a list that is too long is refused for that
// alone, as protovalidate does, before its items are decoded and held to their own rules.
func TestTooManyItems(t *testing.T) {
	t.Parallel()
	v, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	const most = 10_000
	written := func(n int) [][]byte {
		json := "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]"
		return [][]byte{
			bytes.Repeat([]byte{0x0a, 0}, n),
			fmt.Appendf(nil, `{"envelopes":%s}`, json),
			fmt.Appendf(nil, ` { "other" : [{"envelopes":[1]}], "envelopes" : %s , "x":1}`, json)[1:],
		}
	}
	for _, data := range written(most + 1) {
		_, err := decoder[*envelopev1.WriteProcessedEnvelopesRequest](v)(data)
		bad := violationsIn(err)
		if len(bad) != 1 || bad[0].Field != "envelopes" || bad[0].Reason != "REPEATED_MAX_ITEMS" {
			t.Errorf("%.30s: %d violations, %.300v", data, len(bad), err)
		}
		tooMany := &envelopev1.PublishRawEnvelopesRequest{Envelopes: make([]*envelopev1.RawEnvelope, most+1)}
		rules := rulesOf(v, tooMany.ProtoReflect().Descriptor())
		own, err := rules.violations(tooMany)
		if err != nil || len(own) != 1 || len(bad) > 0 && !proto.Equal(own[0], bad[0]) {
			t.Errorf("protovalidate says %v, %v, and we say %v", own, err, bad)
		}
	}
	for _, data := range written(most)[:2] {
		if _, err := decoder[*envelopev1.PublishRawEnvelopesRequest](v)(data); err != nil {
			t.Errorf("%.30s, as many as may be: %v", data, err)
		}
	}
	rules := rulesOf(v, (&envelopev1.WriteProcessedEnvelopesRequest{}).ProtoReflect().Descriptor())
	for _, text := range []string{`{`, `{"envelopes"`, `{"envelopes":`, `{"envelopes":[`, `{"envelopes":[{`, `{"envelopes":1}`, `{"x":[`, `{"x"`, "\x0a", "\x0a\x7f", "\xff\xff"} {
		data := append([]byte(text), make([]byte, 3*most)...) // long enough to be looked at
		if bad := rules.tooMany(data); bad != nil {
			t.Errorf("%q: %v", text, bad)
		}
	}
	ids := &enddevicev1.BatchGetEndDevicesRequest{DeviceIds: make([]string, 1001)}
	data, err := proto.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decoder[*enddevicev1.BatchGetEndDevicesRequest](v)(data); len(violationsIn(err)) != 1 {
		t.Errorf("ids: %v", err)
	}
}

func violationsIn(err error) []*Violation {
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			return bad.FieldViolations
		}
	}
	return nil
}
