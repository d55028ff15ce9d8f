package chdb

import (
	"regexp"
	"strconv"
)

// unknownException is ClickHouse's code for an error without one
// (src/Common/ErrorCodes.cpp, UNKNOWN_EXCEPTION).
const unknownException = 1002

// Error is what the engine says when a statement fails.
type Error struct {
	Code int32 // of ClickHouse's src/Common/ErrorCodes.cpp
	Text string
}

func (e *Error) Error() string { return e.Text }

var codePattern = regexp.MustCompile(`Code: (\d+)\.`)

// parseError finds the code in the text, the only place where libchdb has it.
func parseError(text string) error {
	e := &Error{Code: unknownException, Text: text}
	if m := codePattern.FindStringSubmatch(text); m != nil {
		if code, err := strconv.ParseInt(m[1], 10, 32); err == nil {
			e.Code = int32(code)
		}
	}
	return e
}
