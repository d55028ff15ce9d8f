package conversion

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"ponix/functions/internal/cayenne"
)

// builder makes a Result of a CEL value or of a Cayenne payload. After its first
// error it does nothing.
type builder struct {
	limits   *Limits
	nodes    []node
	entries  []entry           // of the maps that are open, a stack
	readings []cayenne.Reading // room for one payload's
	depth    int
	least    int // bytes that the JSON takes at least
	most     int // and at most
	inexact  bool
	err      *Error
}

// entry is a member of a map.
type entry struct {
	key   string
	value ref.Val
}

var builders = sync.Pool{New: func() any { return &builder{} }}

func newBuilder(l *Limits) *builder {
	b := builders.Get().(*builder)
	b.limits = l
	return b
}

// maxPooled is how many nodes, entries or readings a pooled builder may hold. One
// that holds more is not used again: what 15 kB of Cayenne LPP make fits in.
const maxPooled = 8192

// release gives the builder back, with nothing of what it has built.
func (b *builder) release() {
	if max(cap(b.nodes), cap(b.entries), cap(b.readings)) > maxPooled {
		return
	}
	clear(b.nodes)
	clear(b.entries) // those above are cleared as their maps end
	clear(b.readings)
	*b = builder{nodes: b.nodes[:0], entries: b.entries[:0], readings: b.readings[:0]}
	builders.Put(b)
}

// result returns what was built, of which the builder is a part from then on. Where it
// is an error the builder is given back.
func (b *builder) result() (Result, error) {
	if b.err == nil && b.most > b.limits.Result { // it may be too large
		if text, err := b.built().AppendJSON(nil); err != nil {
			b.release()
			return Result{}, err
		} else if len(text) > b.limits.Result {
			b.tooLarge(len(text))
		}
	}
	if err := b.err; err != nil {
		b.release()
		return Result{}, err
	}
	return b.built(), nil
}

func (b *builder) built() Result {
	const number = 6 // digits, mostly
	return Result{b.nodes, min(b.least+number*len(b.nodes), b.limits.Result), b.inexact, b}
}

func (b *builder) tooLarge(size int) {
	b.fail(ResultTooLarge, "the result has at least %d bytes of JSON, the limit is %d", size, b.limits.Result)
}

func (b *builder) fail(reason, message string, args ...any) {
	if b.err == nil {
		b.err = failed(reason, message, args...)
	}
}

// payload builds the object of a Cayenne payload.
func (b *builder) payload(payload []byte) error {
	var err error
	if b.readings, err = cayenne.Scan(b.readings, payload); err != nil {
		return err
	}
	b.cayenne("", b.readings)
	return nil
}

func (b *builder) cayenne(key string, rs []cayenne.Reading) {
	b.Object(key, len(rs))
	for i := 0; i < len(rs) && b.err == nil; i++ {
		rs[i].Visit(b)
	}
	b.End()
}

// root builds the object of a result.
func (b *builder) root(v ref.Val) {
	if o, ok := v.(*types.Optional); ok && o.HasValue() {
		v = o.GetValue()
	}
	if m, ok := v.(*members); ok {
		b.members(m)
		return
	}
	if _, ok := v.(traits.Mapper); !ok {
		b.fail(ResultNotMap, "the expression yields %s, a map is needed", v.Type().TypeName())
		return
	}
	b.value("", v)
}

// add appends a node whose value takes from least to most bytes of JSON.
func (b *builder) add(n node, least, most int) {
	if b.err != nil {
		return
	}
	const punctuation = len(`"":,`)
	b.least += least
	b.most += most + punctuation + 6*len(n.key) // \u0000
	if n.key != "" {
		b.least += len(`"":`) + len(n.key)
	}
	if b.least > b.limits.Result {
		b.tooLarge(b.least)
		return
	}
	b.nodes = append(b.nodes, n)
}

// Number implements cayenne.Visitor.
func (b *builder) Number(key string, n cayenne.Number) {
	b.add(node{key: key, kind: kindDecimal, bits: uint64(n.Unscaled), scale: n.Scale}, 1, 24)
}

// Bool implements cayenne.Visitor.
func (b *builder) Bool(key string, v bool) {
	n := node{key: key, kind: kindBoolean}
	if v {
		n.bits = 1
	}
	b.add(n, len("true"), len("false"))
}

// String implements cayenne.Visitor.
func (b *builder) String(key, s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	b.add(node{key: key, kind: kindText, text: s}, len(`""`)+len(s), len(`""`)+6*len(s))
}

// Object implements cayenne.Visitor.
func (b *builder) Object(key string, size int) { b.open(node{key: key, kind: kindObject, size: size}) }

// List implements cayenne.Visitor.
func (b *builder) List(key string, size int) { b.open(node{key: key, kind: kindList, size: size}) }

func (b *builder) open(n node) {
	if b.depth++; b.depth > b.limits.Depth {
		b.fail(ResultTooDeep, "the result nests deeper than the limit of %d", b.limits.Depth)
	}
	// Each item takes a comma, but for the first, and at least one byte more.
	if least := b.least + 2*n.size; least > b.limits.Result {
		b.tooLarge(least)
	}
	b.add(n, len("{}")+max(n.size-1, 0), len("{}"))
	if b.err == nil {
		b.nodes = slices.Grow(b.nodes, n.size)
	}
}

// End implements cayenne.Visitor.
func (b *builder) End() { b.depth-- }

// value builds any value.
func (b *builder) value(key string, v ref.Val) {
	switch x := v.(type) {
	case types.String:
		b.String(key, string(x))
	case types.Double:
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			b.fail(ResultInvalid, "%s is %v, which JSON cannot hold", named(key), f)
		}
		b.add(node{key: key, kind: kindDouble, bits: math.Float64bits(float64(x))}, 1, 25)
	case types.Int:
		b.inexact = b.inexact || x > maxExact || x < -maxExact
		b.add(node{key: key, kind: kindInteger, bits: uint64(x)}, 1, 20)
	case types.Uint:
		b.inexact = b.inexact || x > maxExact
		b.add(node{key: key, kind: kindUnsigned, bits: uint64(x)}, 1, 20)
	case types.Bool:
		b.Bool(key, bool(x))
	case types.Null:
		b.add(node{key: key, kind: kindNull}, len("null"), len("null"))
	case types.Bytes:
		b.String(key, base64.StdEncoding.EncodeToString(x))
	case types.Timestamp:
		b.String(key, x.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		b.String(key, seconds(x.Duration))
	case *lppMap:
		b.cayenne(key, x.readings)
	case traits.Mapper:
		b.mapping(key, x)
	case traits.Lister:
		b.items(key, x)
	case *types.Optional:
		if x.HasValue() {
			b.value(key, x.GetValue())
			return
		}
		b.fail(ResultInvalid, "%s is an optional without a value, which JSON cannot hold", named(key))
	default:
		b.fail(ResultInvalid, "%s is %s, which JSON cannot hold", named(key), v.Type().TypeName())
	}
}

// named is a value as an error names it. An item of a list has no key.
func named(key string) string {
	if key == "" {
		return "a value without a key"
	}
	return strconv.Quote(key)
}
