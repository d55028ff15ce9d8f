package wire

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// domain is the domain of every ErrorInfo that Ponix sends.
const domain = "ponix"

// Error returns an error that callers may see: a gRPC code, a stable upper-case
// reason, a message, and further details. What is not UTF-8 in the message, which may
// quote a request, becomes U+FFFD: otherwise the status could not be encoded.
func Error(code codes.Code, reason, message string, details ...protoadapt.MessageV1) error {
	st := status.New(code, strings.ToValidUTF8(message, "\uFFFD"))
	with, err := st.WithDetails(append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: domain}}, details...)...)
	if err != nil { // only for codes.OK, which is no error
		return st.Err()
	}
	return with.Err()
}

// RoleRequired is what a caller gets whose role may not call an rpc.
func RoleRequired(rpc string) error {
	return Error(codes.PermissionDenied, "ROLE_REQUIRED", "the role of the caller may not call "+Subject(rpc))
}
