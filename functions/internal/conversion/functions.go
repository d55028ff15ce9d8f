package conversion

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// cayenneFunction is the function that the fast path knows by name.
const cayenneFunction = "cayenne_lpp_decode"

// textFunctions declares the functions that work through all of their argument.
func textFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Function(cayenneFunction, cel.Overload("cayenne_lpp_decode_bytes",
			[]*cel.Type{cel.BytesType}, cel.MapType(cel.StringType, cel.DynType),
			cel.UnaryBinding(func(b ref.Val) ref.Val { return decodeCayenne(b.(types.Bytes)) }))),
		cel.Function("json_decode",
			cel.Overload("json_decode_string", []*cel.Type{cel.StringType}, cel.DynType,
				cel.UnaryBinding(func(s ref.Val) ref.Val { return orError(decodeJSON([]byte(s.(types.String)))) })),
			cel.Overload("json_decode_bytes", []*cel.Type{cel.BytesType}, cel.DynType,
				cel.UnaryBinding(func(b ref.Val) ref.Val { return orError(decodeJSON(b.(types.Bytes))) }))),
		cel.Function("hex", cel.Overload("hex_bytes", []*cel.Type{cel.BytesType}, cel.StringType,
			cel.UnaryBinding(func(b ref.Val) ref.Val { return types.String(hex.EncodeToString(b.(types.Bytes))) }))),
		cel.Function("unhex", cel.Overload("unhex_string", []*cel.Type{cel.StringType}, cel.BytesType,
			cel.UnaryBinding(func(s ref.Val) ref.Val {
				b, err := hex.DecodeString(string(s.(types.String)))
				if err != nil {
					return types.NewErr("unhex: %v", err)
				}
				return types.Bytes(b)
			}))),
	}
}

func orError(v ref.Val, err error) ref.Val {
	if err != nil {
		return types.NewErr("json_decode: %v", err)
	}
	return v
}

// maxJSONDepth bounds how deep a text that json_decode reads may nest.
const maxJSONDepth = 128

// decodeJSON reads one JSON text (RFC 8259) and nothing else. A number without
// a point and without an exponent is an int, or a uint where an int does not
// hold it; beyond 64 bits it is an error. All others are doubles. Of members
// with one name the last counts.
func decodeJSON(text []byte) (ref.Val, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the text is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("there is no JSON text")
	}
	if err != nil {
		return nil, err
	}
	at := d.InputOffset()
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("there is more than one JSON text: the first ends at byte %d", at)
	}
	if v, err = exact(v, 1); err != nil {
		return nil, err
	}
	return types.DefaultTypeAdapter.NativeToValue(v), nil
}

// exact replaces each json.Number in what encoding/json has made.
func exact(v any, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("the text nests deeper than %d", maxJSONDepth)
	}
	var err error
	switch x := v.(type) {
	case json.Number:
		return parseNumber(string(x))
	case []any:
		for i := range x {
			if x[i], err = exact(x[i], depth+1); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range x {
			if x[k], err = exact(x[k], depth+1); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func parseNumber(s string) (any, error) {
	for i := range len(s) {
		if c := s[i]; c == '.' || c == 'e' || c == 'E' {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsInf(f, 0) {
				return nil, fmt.Errorf("the number %.40s is beyond a double", s)
			}
			return f, nil
		}
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	if u, err := strconv.ParseUint(s, 10, 64); err == nil {
		return u, nil
	}
	return nil, fmt.Errorf("the integer %.40s does not fit into 64 bits", s)
}
