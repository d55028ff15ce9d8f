package runtime

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"ponix/runtime/wire"
)

// Error returns an error that callers may see: a gRPC code, a stable upper-case
// reason (ErrorInfo.reason, and the last token of a dead letter's subject) and
// a message. Every other error reaches callers as an opaque INTERNAL.
func Error(code codes.Code, reason, format string, args ...any) error {
	return wire.Error(code, reason, fmt.Sprintf(format, args...))
}

// Violation is one bad field of a request.
type Violation = errdetails.BadRequest_FieldViolation

// Invalid returns INVALID_ARGUMENT with one violation per bad field.
func Invalid(violations ...*Violation) error {
	var text []string
	for _, v := range violations {
		text = append(text, v.Field+": "+v.Description)
	}
	return wire.Error(codes.InvalidArgument, "INVALID_ARGUMENT", strings.Join(text, "; "), &errdetails.BadRequest{FieldViolations: violations})
}

// InvalidField returns INVALID_ARGUMENT with a violation of one field.
func InvalidField(field, format string, args ...any) error {
	return Invalid(&Violation{Field: field, Description: fmt.Sprintf(format, args...)})
}

// Terminate says that a message can never be handled: it becomes a dead letter
// at once. Its reason is that of err where err was made by [Error].
func Terminate(err error) error { return &terminal{err} }

// RetryAfter says that a message should be delivered again, no sooner than d.
func RetryAfter(d time.Duration, err error) error { return &retry{err, d} }

// BatchError is what a batch handler returns when messages of one batch have
// different fates: the error of each, in the order of the batch, nil for those
// that are done.
type BatchError []error

func (b BatchError) Error() string {
	return fmt.Sprintf("%d of %d messages failed, the first with: %v", failedOf(b, len(b)), len(b), cmp.Or(b...))
}

// Unwrap lets errors.Is and errors.As see each message's error.
func (b BatchError) Unwrap() []error { return b }

type terminal struct{ error }

func (t *terminal) Unwrap() error { return t.error }

type retry struct {
	error
	after time.Duration
}

func (r *retry) Unwrap() error { return r.error }

// publicStatus is what a caller may learn about err: statuses pass, context
// errors are translated, everything else is an opaque INTERNAL.
func publicStatus(err error) *status.Status {
	var s interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return status.New(codes.OK, "")
	case errors.As(err, &s): // not status.FromError, which adds the wrapping text
		return s.GRPCStatus()
	case errors.Is(err, context.DeadlineExceeded):
		return plainStatus(codes.DeadlineExceeded, "the deadline passed before the call was done")
	case errors.Is(err, context.Canceled):
		return plainStatus(codes.Canceled, "the call was cancelled")
	}
	return status.New(codes.Internal, "internal error")
}

// statusBytes is what a status takes at most of the headers that end a call by gRPC. The
// clients of Java and of the C core, which Python, C# and others have, take 8 KiB unless
// they are told otherwise, and make another error of more; some of it is for other headers.
const statusBytes = 7 << 10

// headerBytes is what a status takes there: grpc-message has its text, percent-encoded, and
// grpc-status-details-bin all of it in base64.
func headerBytes(st *status.Status) int {
	n := base64.RawStdEncoding.EncodedLen(proto.Size(st.Proto()))
	for _, b := range []byte(st.Message()) {
		if n++; b < ' ' || b > '~' || b == '%' {
			n += 2
		}
	}
	return n
}

// brief is a status that callers get whole: of very many bad fields it has the first, and
// of long texts, which may quote the request, the beginning.
func brief(st *status.Status) *status.Status {
	if headerBytes(st) <= statusBytes {
		return st
	}
	const text, field = 1024, 256 // bytes of the message, and of what is said of a field
	message := wire.Shorten(st.Message(), text)
	var bad []*Violation
	for _, d := range st.Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			bad = append(bad, b.FieldViolations...)
		}
	}
	short := func(n int) *status.Status {
		said, details := message, []protoadapt.MessageV1(nil)
		if n < len(bad) {
			said = fmt.Sprintf("%s (%d fields are bad, and the first %d are in the details)", message, len(bad), n)
		}
		if n > 0 {
			details = append(details, &errdetails.BadRequest{FieldViolations: bad[:n]})
		}
		return status.Convert(wire.Error(st.Code(), reason(st.Err()), said, details...))
	}
	for i, v := range bad {
		bad[i] = &Violation{Field: wire.Shorten(v.Field, field), Description: wire.Shorten(v.Description, field), Reason: v.Reason}
	}
	n := sort.Search(len(bad), func(i int) bool { return headerBytes(short(i+1)) > statusBytes })
	return short(n)
}

// plainStatus has the code's name for a reason.
func plainStatus(code codes.Code, text string) *status.Status {
	return status.Convert(Error(code, codeName(code), "%s", text))
}

// PublicText is the public message of err, or its whole text where it has none: for
// dead letters, which only operators see.
func PublicText(err error) string {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Message()
	}
	return err.Error()
}

// reason is the stable reason of err: its ErrorInfo's, or else its code's name.
func reason(err error) string {
	st := publicStatus(err)
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason != "" {
			return info.Reason
		}
	}
	return codeName(st.Code())
}

// codeName is the name of a gRPC code in the notation of the wire: NOT_FOUND.
func codeName(c codes.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
