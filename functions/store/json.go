package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"google.golang.org/protobuf/types/known/structpb"

	"ponix/functions/internal/jsontext"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// maxPaths is how many paths the objects of a block may have together. ClickHouse's
// client has a column for each, in which each row has something.
const maxPaths = 64

// appendDocuments appends the rows' data to a JSON column: as values by their paths
// where all rows are simple, which is far less work for ClickHouse than to read text,
// and otherwise as text.
func appendDocuments(to column.Interface, rows []row) error {
	j, ok := to.(*column.JSON)
	if !ok {
		return fmt.Errorf("the column data is %s, not JSON", to.Type())
	}
	if appendObjects(j, rows) {
		return nil
	}
	j.Reset()
	for i := range rows {
		text, err := rows[i].json()
		if err != nil {
			return err
		}
		if err := j.AppendRow(&text); err != nil {
			return err
		}
	}
	return nil
}

// appendObjects is false, and may have appended before, where text is better: also where a
// path has a type in the table to which the client does not turn a value. Of text ClickHouse
// refuses the row.
func appendObjects(to *column.JSON, rows []row) bool {
	paths := map[string]string{}
	o := clickhouse.NewJSON()
	values := o.ValuesByPath()
	set := func(path []byte, v any) {
		known, ok := paths[string(path)]
		if !ok {
			known = string(path)
			paths[known] = known
		}
		values[known] = v
	}
	var path [256]byte
	for i := range rows {
		clear(values)
		if rows[i].text != "" || !rows[i].object.each(path[:0], 0, set) || len(paths) > maxPaths || to.AppendRow(o) != nil {
			return false
		}
	}
	return true
}

// maxExact is the largest integer up to which a double holds every one.
const maxExact = 1 << 53

// appendData appends an envelope's data as the JSON text that ClickHouse gets:
// every number with a point or an exponent, so that one path holds 20 and 20.5
// as the same type, Float64; only integers beyond 2^53 stay integers. place is that
// of its row in a block.
func appendData(dst []byte, e *envelopev1.ProcessedEnvelope) (data []byte, p place, err error) {
	if len(e.DataJson) == 0 {
		data, err = appendStruct(dst, e.Data)
		return data, place{nulls: nullsOf(data)}, err
	}
	v, err := parseJSON(e.DataJson)
	if err != nil {
		return dst, place{}, err
	}
	if _, ok := v.(map[string]any); !ok {
		return dst, place{}, errors.New("is not a JSON object")
	}
	data, err = appendAny(dst, v)
	return data, place{kind: kindOf(v), nulls: nullsOf(data)}, err
}

func appendStruct(dst []byte, s *structpb.Struct) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	var err error
	for k, v := range s.GetFields() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(jsontext.AppendString(dst, k), ':')
		if dst, err = appendValue(dst, v); err != nil {
			return dst, fmt.Errorf("%s: %w", k, err)
		}
	}
	return append(dst, '}'), nil
}

func appendValue(dst []byte, v *structpb.Value) ([]byte, error) {
	switch x := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return appendFloat(dst, x.NumberValue)
	case *structpb.Value_StringValue:
		return jsontext.AppendString(dst, x.StringValue), nil
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(dst, x.BoolValue), nil
	case *structpb.Value_StructValue:
		return appendStruct(dst, x.StructValue)
	case *structpb.Value_ListValue:
		return appendList(dst, x.ListValue.GetValues(), appendValue)
	}
	return append(dst, "null"...), nil
}

// appendAny appends what parseJSON has made.
func appendAny(dst []byte, v any) ([]byte, error) {
	switch x := v.(type) {
	case json.Number:
		return appendNumber(dst, x)
	case string:
		return jsontext.AppendString(dst, x), nil
	case bool:
		return strconv.AppendBool(dst, x), nil
	case []any:
		if holds(x, isInexact) {
			return appendList(dst, x, appendWhole)
		}
		return appendList(dst, x, appendAny)
	case map[string]any:
		dst = append(dst, '{')
		first := true
		var err error
		for k, item := range x {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			if dst, err = appendAny(append(jsontext.AppendString(dst, k), ':'), item); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	return append(dst, "null"...), nil
}

// appendWhole is appendAny in such a list: beside a Float64 the integer would be none.
func appendWhole(dst []byte, v any) ([]byte, error) {
	switch x := v.(type) {
	case json.Number:
		if _, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return append(dst, x...), nil
		}
	case []any:
		return appendList(dst, x, appendWhole)
	}
	return appendAny(dst, v)
}

func appendList[T any](dst []byte, list []T, appendItem func([]byte, T) ([]byte, error)) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i, item := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendItem(dst, item); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendNumber(dst []byte, n json.Number) ([]byte, error) {
	if !isExact(n) {
		return append(dst, n...), nil
	}
	f, err := n.Float64()
	if err != nil {
		return dst, err
	}
	return appendFloat(dst, f)
}

// isExact tells whether a double holds n as well as it can be held: all numbers
// but integers beyond 2^53.
func isExact(n json.Number) bool {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i >= -maxExact && i <= maxExact
	}
	_, err := strconv.ParseUint(string(n), 10, 64)
	return err != nil
}

func isInexact(n json.Number) bool { return !isExact(n) }

// isFraction tells whether n is no integer of 64 bits, but a double.
func isFraction(n json.Number) bool {
	_, err := strconv.ParseInt(string(n), 10, 64)
	return err != nil && isExact(n)
}

// appendFloat appends f so that ClickHouse infers Float64.
func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("%v is not a JSON number", f)
	}
	start := len(dst)
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if !bytes.ContainsAny(dst[start:], ".e") {
		dst = append(dst, ".0"...)
	}
	return dst, nil
}

// parseJSON reads one JSON text with its numbers as they are written.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON text")
	}
	return v, nil
}

// plain turns what parseJSON has made into what structpb takes, and clears
// exact where a number does not survive that.
func plain(v any, exact *bool) any {
	switch x := v.(type) {
	case json.Number:
		*exact = *exact && isExact(x)
		f, _ := x.Float64() // ClickHouse wrote it: it is in range
		return f
	case []any:
		for i := range x {
			x[i] = plain(x[i], exact)
		}
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k], exact)
		}
	}
	return v
}
