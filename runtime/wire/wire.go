// Package wire is how a call looks on NATS: subjects, headers, the encoding of
// statuses, and a grpc.ClientConnInterface, so that the generated clients work
// over NATS just as over gRPC.
//
// The subject of an RPC is its full name with dots; the payload is the request
// as protobuf, or as protojson where its first byte is '{', and then so is the
// reply. An error is a reply with micro's two error headers whose body is a
// google.rpc.Status.
package wire

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// TimeoutHeader carries the caller's remaining time as a Go duration.
const TimeoutHeader = "Ponix-Timeout"

// Subject is the NATS subject of an RPC: "/pkg.Service/Method" becomes
// "pkg.Service.Method".
func Subject(rpc string) string {
	return strings.ReplaceAll(strings.TrimPrefix(rpc, "/"), "/", ".")
}

// IsJSON tells whether a payload is protojson: no protobuf message without
// groups can start with '{'.
func IsJSON(payload []byte) bool { return len(payload) > 0 && payload[0] == '{' }

// Marshal encodes m as protobuf, or as protojson where asJSON is set.
func Marshal(m proto.Message, asJSON bool) ([]byte, error) {
	if asJSON {
		return protojson.Marshal(m)
	}
	return proto.Marshal(m)
}

// Unmarshal decodes a payload in either encoding into m.
func Unmarshal(payload []byte, m proto.Message) error {
	if IsJSON(payload) {
		return protojson.Unmarshal(payload, m)
	}
	return proto.Unmarshal(payload, m)
}

// ErrorReply encodes st as a reply to a request.
func ErrorReply(st *status.Status, asJSON bool) *nats.Msg {
	data, err := Marshal(st.Proto(), asJSON)
	if err != nil { // a detail of a type that is not linked has no JSON form
		data, _ = Marshal(&spb.Status{Code: int32(st.Code()), Message: st.Message()}, asJSON)
	}
	return &nats.Msg{
		Header: nats.Header{
			micro.ErrorCodeHeader: {strconv.Itoa(int(st.Code()))},
			micro.ErrorHeader:     {OneLine(st.Message())},
		},
		Data: data,
	}
}

// OneLine is a text that fits on one header line.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

// Shorten is a text as valid UTF-8 of so many bytes at most: of a longer one the
// beginning, without half a character, and an ellipsis.
func Shorten(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > most {
		const end = "…"
		text = strings.ToValidUTF8(text[:most-len(end)], "") + end
	}
	return text
}

// ReplyStatus returns the status that a reply carries, nil where it is not an
// error.
func ReplyStatus(reply *nats.Msg) *status.Status {
	code := reply.Header.Get(micro.ErrorCodeHeader)
	if code == "" {
		return nil
	}
	st := new(spb.Status)
	if err := Unmarshal(reply.Data, st); err == nil && st.Code != 0 {
		return status.FromProto(st)
	}
	n, err := strconv.Atoi(code) // a service that is not ours
	if err != nil || n <= 0 || n > int(codes.Unauthenticated) {
		n = int(codes.Unknown)
	}
	return status.New(codes.Code(n), reply.Header.Get(micro.ErrorHeader))
}
