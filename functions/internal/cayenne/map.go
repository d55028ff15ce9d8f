package cayenne

// Decode decodes a payload. The values are int64, float64, bool, string,
// map[string]any and []any: a type whose numbers have no decimal places gives
// int64, any other float64, whatever the value. An error is an *Error.
func Decode(payload []byte) (map[string]any, error) {
	rs, err := Scan(nil, payload)
	if err != nil {
		return nil, err
	}
	return Map(rs), nil
}

// Map is what Decode returns, for readings.
func Map(rs []Reading) map[string]any {
	b := newMapBuilder(len(rs))
	for _, r := range rs {
		r.Visit(b)
	}
	return b.open[0].object
}

// Value is one reading's value, as in a map of Decode.
func (r Reading) Value() any {
	b := newMapBuilder(1)
	r.Visit(b)
	return b.open[0].object[r.Key()]
}

// mapBuilder is a Visitor that makes Go values.
type mapBuilder struct{ open []container }

// container is an object or a list that is being made.
type container struct {
	key    string
	object map[string]any // nil in a list
	list   []any
}

func newMapBuilder(size int) *mapBuilder {
	return &mapBuilder{open: []container{{object: make(map[string]any, size)}}}
}

func (b *mapBuilder) add(key string, v any) {
	top := &b.open[len(b.open)-1]
	if top.object == nil {
		top.list = append(top.list, v)
		return
	}
	top.object[key] = v
}

func (b *mapBuilder) Number(key string, n Number) {
	if n.Scale == 0 {
		b.add(key, n.Unscaled)
		return
	}
	b.add(key, n.Float64())
}

func (b *mapBuilder) Bool(key string, v bool) { b.add(key, v) }
func (b *mapBuilder) String(key, s string)    { b.add(key, s) }

func (b *mapBuilder) Object(key string, size int) {
	b.open = append(b.open, container{key: key, object: make(map[string]any, size)})
}

func (b *mapBuilder) List(key string, size int) {
	b.open = append(b.open, container{key: key, list: make([]any, 0, size)})
}

func (b *mapBuilder) End() {
	last := b.open[len(b.open)-1]
	b.open = b.open[:len(b.open)-1]
	if last.object != nil {
		b.add(last.key, last.object)
		return
	}
	b.add(last.key, last.list)
}
