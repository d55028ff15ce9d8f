package native

import (
	"fmt"
	"strconv"
	"strings"
)

// kind is how the values of a type are laid out.
type kind uint8

const (
	fixed    kind = iota // size bytes a row
	text                 // length and bytes
	array                // end offsets, then elements; Map and Nested are arrays of tuples
	tuple                // one column after the other
	nullable             // a byte a row, then values
	lowCard              // a dictionary and indices into it
	variant              // discriminators, then one column a type
	dynamic              // a variant whose types its prefix lists
	flatDyn              // the same, once they are known
	json                 // tuple of typed paths and dynamic ones that its prefix lists
)

type node struct {
	kind kind
	size int
	kids []*node
}

// maxDepth bounds the nesting of types.
const maxDepth = 32

// sizes are bytes a value, of the types that always have the same
// (ClickHouse: src/DataTypes/DataTypeFactory.cpp).
var sizes = map[string]int{
	"Int8": 1, "UInt8": 1, "Bool": 1, "Enum8": 1, "Nothing": 1,
	"Int16": 2, "UInt16": 2, "Enum16": 2, "Date": 2, "BFloat16": 2,
	"Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4, "DateTime": 4, "DateTime32": 4, "IPv4": 4, "Time": 4, "Decimal32": 4,
	"Int64": 8, "UInt64": 8, "Float64": 8, "DateTime64": 8, "Time64": 8, "Decimal64": 8,
	"UUID": 16, "IPv6": 16, "Int128": 16, "UInt128": 16, "Decimal128": 16,
	"Int256": 32, "UInt256": 32, "Decimal256": 32,
}

// aliases are the types that are others under a name of their own.
var aliases = map[string]string{
	"Point": "Tuple(Float64,Float64)", "Ring": "Array(Point)", "LineString": "Array(Point)", "Polygon": "Array(Ring)",
	"MultiLineString": "Array(LineString)", "MultiPolygon": "Array(Polygon)",
}

func parseType(typ string, depth int) (*node, error) {
	typ = strings.TrimSpace(typ)
	if depth > maxDepth {
		return nil, fmt.Errorf("native block: type is nested deeper than %d", maxDepth)
	}
	name, args := typ, []string(nil)
	if i := strings.IndexByte(typ, '('); i > 0 && strings.HasSuffix(typ, ")") {
		name, args = typ[:i], SplitList(typ[i+1:len(typ)-1])
	}
	if size, ok := sizes[name]; ok {
		return &node{size: size}, nil
	}
	if alias, ok := aliases[name]; ok {
		return parseType(alias, depth+1)
	}
	switch name {
	case "String":
		return &node{kind: text}, nil
	case "Dynamic":
		return &node{kind: dynamic}, nil
	case "FixedString", "Decimal":
		return parseSized(typ, name, args)
	}
	if strings.HasPrefix(name, "Interval") {
		return &node{size: 8}, nil
	}
	return parseComposite(typ, name, args, depth)
}

func parseSized(typ, name string, args []string) (*node, error) {
	if len(args) == 0 {
		return nil, unsupported(typ)
	}
	n, err := strconv.Atoi(args[0])
	switch {
	case err != nil || n < 1 || n > 1<<24:
		return nil, unsupported(typ)
	case name == "FixedString":
		return &node{size: n}, nil
	case n <= 9:
		return &node{size: 4}, nil
	case n <= 18:
		return &node{size: 8}, nil
	case n <= 38:
		return &node{size: 16}, nil
	}
	return &node{size: 32}, nil
}

func parseComposite(typ, name string, args []string, depth int) (*node, error) {
	var kids []*node
	for _, arg := range args {
		switch name {
		case "Tuple", "Nested":
			arg = dropName(arg)
		case "JSON":
			if strings.HasPrefix(arg, "SKIP ") || strings.HasPrefix(arg, "max_dynamic_") {
				continue
			}
			arg = dropName(arg)
		case "SimpleAggregateFunction":
			if len(kids) == 0 && len(args) == 2 {
				arg = args[1] // the first names the function
			}
		}
		kid, err := parseType(arg, depth+1)
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	return compose(typ, name, kids)
}

func compose(typ, name string, kids []*node) (*node, error) {
	n := len(kids)
	switch {
	case name == "Tuple":
		return &node{kind: tuple, kids: kids}, nil
	case name == "JSON":
		return &node{kind: json, kids: kids}, nil
	case name == "Variant" && n > 0 && n < 255:
		return &node{kind: variant, kids: kids}, nil
	case name == "Array" && n == 1:
		return &node{kind: array, kids: kids}, nil
	case name == "Map" && n == 2, name == "Nested" && n > 0:
		return &node{kind: array, kids: []*node{{kind: tuple, kids: kids}}}, nil
	case name == "Nullable" && n == 1:
		return &node{kind: nullable, kids: kids}, nil
	case name == "LowCardinality" && n == 1:
		if kids[0].kind == nullable {
			kids = kids[0].kids // the dictionary holds the null as an entry
		}
		return &node{kind: lowCard, kids: kids}, nil
	case name == "SimpleAggregateFunction" && n == 2:
		return kids[1], nil
	}
	return nil, unsupported(typ)
}

func unsupported(typ string) error {
	return fmt.Errorf("native block: type %.100s is not supported by this server", typ)
}

// SplitList splits at commas, minding parentheses and quotes of all three sorts.
func SplitList(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	var out []string
	depth, start, quote := 0, 0, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			switch c {
			case '\\':
				i++
			case quote:
				quote = 0
			}
		case c == '\'' || c == '`' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out, start = append(out, strings.TrimSpace(s[start:i])), i+1
		}
	}
	return append(out, strings.TrimSpace(s[start:]))
}

// dropName turns "name Type" into "Type".
func dropName(arg string) string {
	if strings.HasPrefix(arg, "`") {
		if i := strings.Index(arg[1:], "` "); i >= 0 {
			return arg[i+3:]
		}
	}
	space, paren := strings.IndexByte(arg, ' '), strings.IndexByte(arg, '(')
	if space > 0 && (paren < 0 || space < paren) {
		return arg[space+1:]
	}
	return arg
}
