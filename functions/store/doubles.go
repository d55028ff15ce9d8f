package store

import (
	"encoding/json"
	"strconv"
	"strings"
)

// withDoubles gives the doubles beyond 2^53 in what parseJSON has made of ClickHouse's text
// an exponent, as `convert` does: ClickHouse writes them as it writes integers. path is that
// of v, and of an object what those of its members begin with. What is in an object of a
// list has no path of its own, and stays as it is written.
func withDoubles(v any, path string, types map[string]string, changed *bool) any {
	switch x := v.(type) {
	case json.Number:
		if isExact(x) || !ofDoubles(types[path]) {
			return v
		}
		f, _ := x.Float64() // ClickHouse wrote it: it is in range
		*changed = true
		return json.Number(strconv.FormatFloat(f, 'e', -1, 64))
	case []any:
		for i, item := range x {
			if _, ok := item.(map[string]any); !ok {
				x[i] = withDoubles(item, path, types, changed)
			}
		}
	case map[string]any:
		for k, item := range x {
			to := path + k
			if _, ok := item.(map[string]any); ok {
				to += "."
			}
			x[k] = withDoubles(item, to, types, changed)
		}
	}
	return v
}

// ofDoubles tells whether a type is Float64, or lists of it alone.
func ofDoubles(t string) bool {
	return strings.TrimRight(strings.NewReplacer("Array(", "", "Nullable(", "").Replace(t), ")") == "Float64"
}

// jsonOf is what parseJSON has made as text again.
func jsonOf(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
