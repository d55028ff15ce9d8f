package conversion

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// items builds a list.
func (b *builder) items(key string, l traits.Lister) {
	size := int(l.Size().(types.Int))
	b.List(key, size)
	for i := 0; i < size && b.err == nil; i++ {
		b.value("", l.Get(types.Int(i)))
	}
	b.End()
}

// mapping builds a map, its keys sorted.
func (b *builder) mapping(key string, m traits.Mapper) {
	start := len(b.entries)
	b.Object(key, int(m.Size().(types.Int)))
	types.ToFoldableMap(m).Fold(b)
	slices.SortFunc(b.entries[start:], func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	for i := start; i < len(b.entries) && b.err == nil; i++ {
		e := b.entries[i] // nested maps move the stack
		if i > start && e.key == b.entries[i-1].key {
			b.fail(ResultInvalid, "two keys of a map become %q", e.key)
			break
		}
		b.value(e.key, e.value)
	}
	clear(b.entries[start:])
	b.entries = b.entries[:start]
	b.End()
}

// members builds the value of a map literal.
func (b *builder) members(m *members) {
	b.Object("", len(m.values))
	for _, i := range m.literal.sorted {
		b.value(m.literal.keys[i], m.values[i])
	}
	b.End()
}

// FoldEntry implements traits.Folder: it collects the members of a map.
func (b *builder) FoldEntry(key, val any) bool {
	k, v := native(key), native(val)
	var name string
	switch x := k.(type) {
	case types.String:
		name = strings.ToValidUTF8(string(x), "�")
	case types.Int:
		name = strconv.FormatInt(int64(x), 10)
	case types.Uint:
		name = strconv.FormatUint(uint64(x), 10)
	case types.Bool:
		name = strconv.FormatBool(bool(x))
	default:
		b.fail(ResultInvalid, "a key of a map is %s, which JSON cannot hold", k.Type().TypeName())
	}
	b.entries = append(b.entries, entry{name, v})
	return b.err == nil
}

func native(v any) ref.Val {
	if r, ok := v.(ref.Val); ok {
		return r
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// seconds is a duration as protobuf's JSON has it: 1.5s.
func seconds(d time.Duration) string {
	text := strconv.FormatInt(int64(d/time.Second), 10)
	part := d % time.Second
	if part == 0 {
		return text + "s"
	}
	if d < 0 {
		part = -part
		text = "-" + strings.TrimPrefix(text, "-")
	}
	digits := strconv.FormatInt(int64(time.Second+part), 10)[1:]
	return text + "." + strings.TrimRight(digits, "0") + "s"
}
