package native

// The versions of serializations that this package knows
// (ClickHouse: src/DataTypes/Serializations/Serialization{LowCardinality,Variant,Dynamic,Object}.cpp).
const (
	lowCardVersion = 1
	variantBasic   = 0
	dynamicFlat    = 3
	jsonStrings    = 1 // each row is a JSON text
	jsonFlat       = 3 // each path is a column
)

// prefix reads what stands before the data of a column, once for all rows, and returns the type
// that they are laid out as: Dynamic and JSON name theirs only here.
func (r *Reader) prefix(n *node) *node {
	switch n.kind {
	case fixed, text:
		return n
	case lowCard:
		r.version("LowCardinality", lowCardVersion)
		return n
	case dynamic:
		return r.dynamicPrefix()
	case json:
		return r.jsonPrefix(n)
	case variant:
		r.version("Variant", variantBasic)
	}
	out := &node{kind: n.kind, size: n.size, kids: make([]*node, len(n.kids))}
	for i, kid := range n.kids {
		out.kids[i] = r.prefix(kid)
	}
	return out
}

func (r *Reader) version(typ string, want uint64) {
	if v := r.uint64(); r.err == nil && v != want {
		r.fail("%s in serialization version %d; only %d is supported", typ, v, want)
	}
}

func (r *Reader) dynamicPrefix() *node {
	r.version("Dynamic", dynamicFlat)
	out := &node{kind: flatDyn}
	for i := r.uvarint(); i > 0 && r.err == nil; i-- {
		kid, err := parseType(r.string(), 0)
		if err != nil && r.err == nil {
			r.err = err
		}
		out.kids = append(out.kids, kid)
	}
	for i, kid := range out.kids {
		if r.err == nil {
			out.kids[i] = r.prefix(kid)
		}
	}
	return out
}

func (r *Reader) jsonPrefix(n *node) *node {
	version := r.uint64()
	if version == jsonStrings {
		return &node{kind: text}
	}
	if r.err == nil && version != jsonFlat {
		r.fail("JSON in serialization version %d; only %d and %d are supported", version, jsonStrings, jsonFlat)
	}
	paths := r.uvarint()
	for i := 0; i < paths && r.err == nil; i++ {
		r.take(r.uvarint())
	}
	out := &node{kind: tuple}
	for _, kid := range n.kids {
		out.kids = append(out.kids, r.prefix(kid))
	}
	for i := 0; i < paths && r.err == nil; i++ {
		out.kids = append(out.kids, r.dynamicPrefix())
	}
	if len(out.kids) == 0 {
		return &node{} // rows of {} take no room
	}
	return out
}

// skip passes over the data of rows values.
func (r *Reader) skip(n *node, rows int) {
	if r.err != nil {
		return
	}
	switch n.kind {
	case fixed:
		r.fixed(rows, n.size)
	case text:
		for i := 0; i < rows && r.err == nil; i++ {
			r.take(r.uvarint())
		}
	case array:
		if rows > 0 {
			r.fixed(rows-1, 8)
			r.skip(n.kids[0], r.count())
		}
	case tuple:
		if len(n.kids) == 0 {
			r.fixed(rows, 1)
		}
		for _, kid := range n.kids {
			r.skip(kid, rows)
		}
	case nullable:
		r.fixed(rows, 1)
		r.skip(n.kids[0], rows)
	case lowCard:
		r.skipLowCard(n, rows)
	case variant, flatDyn:
		r.skipVariant(n, rows)
	default:
		r.fail("type without a known layout")
	}
}

func (r *Reader) skipLowCard(n *node, rows int) {
	if rows == 0 {
		return
	}
	width := r.uint64() & 0xff // log2 of the bytes of an index; the other bits are flags
	if width > 3 {
		r.fail("LowCardinality index of width %d", width)
	}
	r.skip(n.kids[0], r.count())
	r.fixed(r.count(), 1<<width)
}

// skipVariant counts the discriminators: each names the column that holds its row's value.
// Variant has 255 for NULL, Dynamic the first number after its types.
func (r *Reader) skipVariant(n *node, rows int) {
	null, width := 255, 1
	if n.kind == flatDyn {
		if null = len(n.kids); null > 0xff {
			width = 2
		}
	}
	if null > 0xffff {
		r.fail("Dynamic with %d types", null)
	}
	discriminators := r.take(rows * width)
	counts := make([]int, len(n.kids))
	for i := 0; i < len(discriminators); i += width {
		d := int(discriminators[i])
		if width == 2 {
			d |= int(discriminators[i+1]) << 8
		}
		switch {
		case d < len(counts):
			counts[d]++
		case d != null:
			r.fail("discriminator %d of %d types", d, len(counts))
			return
		}
	}
	for i, kid := range n.kids {
		r.skip(kid, counts[i])
	}
}
