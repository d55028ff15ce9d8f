// Package jsontext appends values to JSON texts (RFC 8259) without building
// anything in between.
package jsontext

import (
	"encoding/json"
	"unicode/utf8"
)

// AppendString appends s quoted. What is not UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	plain, ascii := true, true
	for i := range len(s) {
		c := s[i]
		plain = plain && c >= 0x20 && c != '"' && c != '\\'
		ascii = ascii && c < utf8.RuneSelf
	}
	if !plain || !ascii && !utf8.ValidString(s) {
		quoted, _ := json.Marshal(s) // a string always has a JSON form
		return append(dst, quoted...)
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
