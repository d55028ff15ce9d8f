package conversion

import (
	"fmt"

	"ponix/runtime/wire"
)

// What an Error can have as its Reason. They name dead letters, so they stay.
const (
	NoExpression      = "NO_EXPRESSION"
	ExpressionTooLong = "EXPRESSION_TOO_LONG"
	InvalidExpression = "INVALID_EXPRESSION"
	PayloadTooLarge   = "PAYLOAD_TOO_LARGE"
	CostExceeded      = "COST_LIMIT_EXCEEDED"
	TimeExceeded      = "TIME_LIMIT_EXCEEDED"
	EvaluationFailed  = "EVALUATION_FAILED"
	ResultNotMap      = "RESULT_NOT_A_MAP"
	ResultInvalid     = "RESULT_INVALID"
	ResultTooLarge    = "RESULT_TOO_LARGE"
	ResultTooDeep     = "RESULT_TOO_DEEP"
)

// Error says why a payload was not converted, or an expression not accepted. It
// is fit for callers and stays true: the same input fails the same way again,
// but for a time limit.
type Error struct {
	Reason  string // one of the constants
	Message string // at most maxMessage bytes, valid UTF-8
}

func (e *Error) Error() string { return e.Message }

// maxMessage bounds an error message in bytes: it may quote what a device sent.
const maxMessage = 1024

func failed(reason, message string, args ...any) *Error {
	return &Error{reason, wire.Shorten(fmt.Sprintf(message, args...), maxMessage)}
}
