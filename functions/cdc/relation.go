package cdc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/proto"
)

// relation is an entity's table as it is at one point of the log: PostgreSQL
// describes it before its first change, and again after its columns have changed.
type relation struct {
	*entity
	width int   // columns of a tuple
	index []int // where in a tuple each of the entity's columns is
	old   tuple
	new   tuple
	row   values
}

// alike are types whose binary formats are those of others.
var alike = map[uint32]uint32{pgtype.VarcharOID: text, pgtype.BPCharOID: text, pgtype.JSONOID: jsonb}

// relate finds the entity's columns among those that there are.
func relate(e *entity, columns []column) (*relation, error) {
	r := &relation{entity: e, width: len(columns), row: values{of: make([][]byte, len(e.columns))}}
	for _, c := range e.columns {
		i := slices.IndexFunc(columns, func(is column) bool { return is.name == c.name })
		if i < 0 {
			return nil, fmt.Errorf("table %s has no column %s", e.table, c.name)
		}
		if is := columns[i].oid; is != c.oid && alike[is] != c.oid {
			return nil, fmt.Errorf("column %s of table %s has the type %s, and must have %s", c.name, e.table, typeName(is), typeName(c.oid))
		}
		r.index = append(r.index, i)
	}
	return r, nil
}

func typeName(oid uint32) string {
	if t, known := pgtype.NewMap().TypeForOID(oid); known {
		return t.Name
	}
	return fmt.Sprintf("with the OID %d", oid)
}

// encode makes the payload of a row's event.
func (r *relation) encode(t tuple) ([]byte, error) {
	for i, at := range r.index {
		r.row.of[i] = t[at].data
	}
	r.row.err = nil
	m := r.message(&r.row)
	if r.row.err != nil {
		return nil, fmt.Errorf("a row of %s with id %q: %w", r.table, r.row.of[0], r.row.err)
	}
	return proto.Marshal(m)
}

// tuple is a row's columns. They lie in the message that they were read from.
type tuple []datum

type datum struct {
	data      []byte // nil: NULL
	unchanged bool   // a TOAST value that the update left as it was
}

// errPartly is a change that the log does not have all of, and never will.
var errPartly = errors.New("the log does not have the whole old row: the table must have REPLICA IDENTITY FULL")

var errShort = errors.New("a message of PostgreSQL ends too early")

// readTuple reads TupleData into t, and returns what follows (PostgreSQL's
// manual, "Logical Replication Message Formats").
func readTuple(src []byte, width int, t tuple) (tuple, []byte, error) {
	if len(src) < 2 {
		return t, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(src))
	if n != width {
		return t, nil, fmt.Errorf("a row has %d columns, and its table has %d", n, width)
	}
	src, t = src[2:], t[:0]
	for range n {
		if len(src) < 1 {
			return t, nil, errShort
		}
		kind := src[0]
		src = src[1:]
		switch kind {
		case 'n':
			t = append(t, datum{})
		case 'u':
			t = append(t, datum{unchanged: true})
		case 'b', 't': // a type that has no binary format comes as text; none of ours
			if len(src) < 4 {
				return t, nil, errShort
			}
			size := int(binary.BigEndian.Uint32(src))
			if src = src[4:]; len(src) < size {
				return t, nil, errShort
			}
			t, src = append(t, datum{data: src[:size:size]}), src[size:]
		default:
			return t, nil, fmt.Errorf("a column of the kind %q, which was not asked for", kind)
		}
	}
	return t, src, nil
}

// change reads what follows the table's id in an Insert or Update, the row as it is
// now, or in a Delete, as it was before.
func (r *relation) change(src []byte, deleted bool) (tuple, error) {
	hasOld := false
	r.old = r.old[:0]
	for len(src) > 0 {
		var err error
		switch kind := src[0]; kind {
		case 'N':
			if r.new, _, err = readTuple(src[1:], r.width, r.new); err != nil {
				return nil, err
			}
			return r.complete(hasOld)
		case 'O':
			r.old, src, err = readTuple(src[1:], r.width, r.old)
			hasOld = true
		case 'K':
			return nil, fmt.Errorf("a change of table %s: %w", r.table, errPartly)
		default:
			return nil, fmt.Errorf("a tuple of the kind %q", kind)
		}
		if err != nil {
			return nil, err
		}
	}
	if !hasOld || !deleted {
		return nil, errShort
	}
	return r.old, nil
}

// renamed tells whether the update that was read last gave the row another id, which
// is the first of the columns.
func (r *relation) renamed() bool {
	at := r.index[0]
	return len(r.old) > 0 && !bytes.Equal(r.old[at].data, r.new[at].data)
}

// complete takes what the update left as it was from the old row.
func (r *relation) complete(hasOld bool) (tuple, error) {
	for i, d := range r.new {
		if !d.unchanged {
			continue
		}
		if !hasOld || r.old[i].unchanged {
			return nil, fmt.Errorf("a change of table %s: %w", r.table, errPartly)
		}
		r.new[i] = r.old[i]
	}
	return r.new, nil
}
