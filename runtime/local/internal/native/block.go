package native

// Block is where a block and its columns lie in Reader.Bytes.
type Block struct {
	Columns []Column
	Rows    int
	Start   int // offset of the block
	End     int // and of what follows it
}

// Column is a column's declaration and the offset of its data. Data that follow end where the next
// column's declaration begins.
type Column struct {
	Name, Type string
	Data       int
}

// Block reads the next block as Native files hold it.
func (r *Reader) Block() (Block, error) { return r.block(false) }

// WireBlock reads the next block as the TCP protocol sends it from revision 54454 on: a byte after
// each column's type says whether its serialization is a special one. None is supported, and the
// byte is left out of Bytes, which so hold the block as Native files do.
func (r *Reader) WireBlock() (Block, error) { return r.block(true) }

func (r *Reader) block(wire bool) (Block, error) {
	b := Block{Start: r.pos}
	columns := r.uvarint()
	b.Rows = r.uvarint()
	for i := 0; i < columns && r.err == nil; i++ {
		c := Column{Name: r.string(), Type: r.string()}
		c.Data = r.pos
		if wire {
			r.dropFlag(c.Name)
		}
		r.column(c.Type, b.Rows)
		b.Columns = append(b.Columns, c)
	}
	b.End = r.pos
	return b, r.err
}

func (r *Reader) dropFlag(column string) {
	flag := r.take(1)
	if flag == nil {
		return
	}
	if flag[0] != 0 {
		r.fail("custom serialization of column %s is not supported", column)
		return
	}
	r.pos--
	r.buf = append(r.buf[:r.pos], r.buf[r.pos+1:]...)
}

func (r *Reader) column(typ string, rows int) {
	if r.err != nil {
		return
	}
	t, err := parseType(typ, 0)
	if err != nil {
		r.err = err
		return
	}
	if rows > 0 {
		r.skip(r.prefix(t), rows)
	}
}

// Table reads the whole of NewBytes as blocks of String columns and returns them row by row: the
// results of DESCRIBE and of queries over strings.
func (r *Reader) Table() ([][]string, error) {
	var table [][]string
	for r.More() {
		columns, rows := r.uvarint(), r.uvarint()
		first := len(table)
		for c := 0; c < columns && r.err == nil; c++ {
			if _, typ := r.string(), r.string(); typ != "String" {
				r.fail("a column of type %s where String is expected", typ)
			}
			for i := 0; i < rows && r.err == nil; i++ {
				if c == 0 {
					table = append(table, make([]string, columns))
				}
				table[first+i][c] = r.string()
			}
		}
	}
	return table, r.err
}
