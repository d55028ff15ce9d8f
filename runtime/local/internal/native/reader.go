// Package native finds the boundaries of ClickHouse Native blocks and of the columns in them,
// without decoding values.
//
// A block on the wire carries no length when it is not compressed, so a server that passes blocks
// on has to know how long each column type is. The layout is that of ClickHouse's
// src/Formats/NativeReader.cpp and src/DataTypes/Serializations, with JSON and Dynamic in their
// flattened version (3) only, which is the one that clickhouse-go reads and writes.
package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The limits on what a peer may ask for.
const (
	maxBlock = 512 << 20 // bytes of one block
	maxCount = 1 << 32   // rows, columns or elements
	growth   = 1 << 20   // bytes read at once, so that a false length costs no more than this
)

// Reader collects blocks from a stream, or walks those that are in memory already.
// Its first error sticks: every later read returns zero values.
type Reader struct {
	buf []byte
	pos int
	in  io.Reader // nil when buf holds everything
	err error
}

// NewReader reads from in and appends what it reads to dst.
func NewReader(in io.Reader, dst []byte) *Reader {
	return &Reader{buf: dst, pos: len(dst), in: in}
}

// NewBytes walks data.
func NewBytes(data []byte) *Reader { return &Reader{buf: data} }

// Bytes returns dst and every block read since.
func (r *Reader) Bytes() []byte { return r.buf[:r.pos] }

// More says whether data is left of those given to NewBytes.
func (r *Reader) More() bool { return r.err == nil && r.pos < len(r.buf) }

func (r *Reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("native block: "+format, args...)
	}
}

// take returns the next n bytes, or nil after an error.
func (r *Reader) take(n int) []byte {
	if r.err == nil && (n < 0 || n > maxBlock-r.pos) {
		r.fail("larger than %d bytes", maxBlock)
	}
	if r.err == nil && r.pos+n > len(r.buf) {
		r.fill(r.pos + n)
	}
	if r.err != nil {
		return nil
	}
	out := r.buf[r.pos : r.pos+n]
	r.pos += n
	return out
}

// fill reads from the stream until the buffer ends at end.
func (r *Reader) fill(end int) {
	if r.in == nil {
		r.err = io.ErrUnexpectedEOF
		return
	}
	for have := len(r.buf); have < end; have = len(r.buf) {
		upTo := min(end, have+growth)
		if upTo > cap(r.buf) {
			larger := make([]byte, have, max(2*cap(r.buf), upTo, 64<<10))
			copy(larger, r.buf)
			r.buf = larger
		}
		r.buf = r.buf[:upTo]
		if _, err := io.ReadFull(r.in, r.buf[have:]); err != nil {
			r.buf = r.buf[:have]
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			r.err = err
			return
		}
	}
}

// fixed skips n values of size bytes each.
func (r *Reader) fixed(n, size int) { r.take(n * size) }

func (r *Reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count is a number of elements, eight bytes wide.
func (r *Reader) count() int {
	n := r.uint64()
	if n > maxCount {
		r.fail("count %d is out of range", n)
		return 0
	}
	return int(n)
}

// uvarint is a number of elements or bytes, seven bits a byte.
func (r *Reader) uvarint() int {
	var x uint64
	for shift := 0; shift < 63; shift += 7 {
		b := r.take(1)
		if b == nil {
			return 0
		}
		x |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			if x > maxCount {
				break
			}
			return int(x)
		}
	}
	r.fail("varint is out of range")
	return 0
}

func (r *Reader) string() string { return string(r.take(r.uvarint())) }
