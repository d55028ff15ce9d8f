package wire_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/wire"
)

func TestSubject(t *testing.T) {
	t.Parallel()
	if got := wire.Subject("/ponix.end_device.v1.EndDeviceService/CreateEndDevice"); got != "ponix.end_device.v1.EndDeviceService.CreateEndDevice" {
		t.Error(got)
	}
}

func TestStatusSurvivesTheWire(t *testing.T) {
	t.Parallel()
	st, err := status.New(codes.NotFound, "no\r\nsuch thing").WithDetails(&errdetails.ErrorInfo{Reason: "GONE", Domain: "ponix"})
	if err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		reply := wire.ErrorReply(st, asJSON)
		if reply.Header.Get("Nats-Service-Error-Code") != "5" || reply.Header.Get("Nats-Service-Error") != "no  such thing" || wire.IsJSON(reply.Data) != asJSON {
			t.Errorf("%v %s", reply.Header, reply.Data)
		}
		if got := wire.ReplyStatus(reply); !proto.Equal(got.Proto(), st.Proto()) {
			t.Errorf("got %v", got)
		}
	}
	foreign := &nats.Msg{Header: nats.Header{"Nats-Service-Error-Code": {"503"}, "Nats-Service-Error": {"busy"}}}
	if got := wire.ReplyStatus(foreign); got.Code() != codes.Unknown || got.Message() != "busy" {
		t.Errorf("of a service that is not ours: %v", got)
	}
	for code, want := range map[string]codes.Code{"16": codes.Unauthenticated, "17": codes.Unknown, "0": codes.Unknown, "-1": codes.Unknown, "x": codes.Unknown} {
		foreign.Header.Set("Nats-Service-Error-Code", code)
		if got := wire.ReplyStatus(foreign).Code(); got != want {
			t.Errorf("code %s is %v, want %v", code, got, want)
		}
	}
	if got := wire.ReplyStatus(&nats.Msg{}); got != nil {
		t.Errorf("of a reply that is no error: %v", got)
	}
}

// TestUnknownDetail holds that a status whose detail has no JSON form is a status in JSON all
// the same.
func TestUnknownDetail(t *testing.T) {
	t.Parallel()
	st := status.FromProto(&spb.Status{Code: 5, Message: "gone", Details: []*anypb.Any{{TypeUrl: "type.googleapis.com/nobody.knows.It"}}})
	reply := wire.ErrorReply(st, true)
	if got := wire.ReplyStatus(reply); !wire.IsJSON(reply.Data) || got.Code() != codes.NotFound || got.Message() != "gone" {
		t.Errorf("got %v of %s", got, reply.Data)
	}
}

// TestErrorIsText holds that an error which quotes what is no text can be sent.
func TestErrorIsText(t *testing.T) {
	t.Parallel()
	st := status.Convert(wire.Error(codes.InvalidArgument, "BAD", "it says \xff"))
	for _, asJSON := range []bool{false, true} {
		if got := wire.ReplyStatus(wire.ErrorReply(st, asJSON)); got.Message() != "it says \uFFFD" || len(got.Details()) != 1 {
			t.Errorf("got %v", got)
		}
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":           "",
		"12345678":   "12345678", // as long as it may be
		"123456789":  "12345…",
		"12ä\xcd":    "12ä�", // each byte that is no text is a character of three
		"12345\xcd":  "12345�",
		"123456\xcd": "12345…",
		"1€€€":       "1€…", // and not half of the second
		"\xcd€\xcd€": "�…",
	} {
		if got := wire.Shorten(text, 8); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestClientHasNoStreams(t *testing.T) {
	t.Parallel()
	if _, err := wire.NewClient(nil).NewStream(t.Context(), nil, "/a/b"); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}

// FuzzUnmarshal holds the sniffing of encodings: whatever can be decoded can be
// encoded both ways, each way is recognised as what it is, and says the same.
func FuzzUnmarshal(f *testing.F) {
	data, err := structpb.NewStruct(map[string]any{"t": 27.2, "list": []any{"{", nil, true}})
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []*envelopev1.ProcessedEnvelope{{}, {OrganizationId: "{"}, {EndDeviceId: "d", Data: data, DataJson: []byte(`{"n":1}`)}} {
		for _, asJSON := range []bool{false, true} {
			encoded, err := wire.Marshal(m, asJSON)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(encoded)
		}
	}
	for _, s := range []string{"{", "{}", `{"organization_id":1}`, `{"unknown":1}`, "{\x00", " {}", "[]", "\x7b\x7c", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := &envelopev1.ProcessedEnvelope{}
		if err := wire.Unmarshal(payload, m); err != nil {
			return
		}
		for _, asJSON := range []bool{false, true} {
			encoded, err := wire.Marshal(m, asJSON)
			if err != nil {
				if asJSON {
					continue // a time or a number that has no JSON form
				}
				t.Fatal(err)
			}
			if wire.IsJSON(encoded) != asJSON {
				t.Fatalf("%q is taken for the other encoding", encoded)
			}
			again := &envelopev1.ProcessedEnvelope{}
			if err := wire.Unmarshal(encoded, again); err != nil {
				t.Fatal(errors.Join(err, errors.New(string(encoded))))
			}
			if !asJSON && !proto.Equal(m, again) {
				t.Fatalf("%v became %v", m, again)
			}
		}
	})
}
