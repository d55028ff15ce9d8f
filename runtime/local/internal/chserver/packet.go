package chserver

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/ClickHouse/ch-go/proto"

	"ponix/runtime/local/internal/chdb"
	"ponix/runtime/local/internal/native"
)

// brokenError says that the connection cannot go on: it is gone or out of step.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

// broken marks err, if there is one.
func broken(err error) error {
	if err == nil {
		return nil
	}
	return brokenError{err}
}

func (c *session) flush() error {
	if len(c.out.Buf) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out.Buf)
	c.out.Buf = c.out.Buf[:0]
	if cap(c.out.Buf) > keepBuffer {
		c.out.Buf = nil
	}
	return broken(err)
}

var codePrefix = regexp.MustCompile(`^Code: \d+\. `)

// exception sends the error of a statement.
func (c *session) exception(err error) error {
	e := &chdb.Error{Code: codeUnknown, Text: err.Error()}
	errors.As(err, &e)
	proto.ServerCodeException.Encode(&c.out)
	packet := proto.Exception{
		Code: proto.Error(e.Code), Name: "DB::Exception",
		Message: codePrefix.ReplaceAllString(e.Text, ""), // the client adds it again
	}
	packet.EncodeAware(&c.out, c.revision)
	return c.flush()
}

// progress says what has been read and written since the last one.
func (c *session) progress(rows, bytes, written uint64) {
	proto.ServerCodeProgress.Encode(&c.out)
	for _, n := range []uint64{rows, bytes, 0, written, 0} { // the zeros: rows in total, bytes written
		c.out.PutUVarInt(n)
	}
	if proto.FeatureServerQueryTimeInProgress.In(c.revision) {
		c.out.PutUVarInt(0)
	}
}

// header sends a block without rows: it tells the client the columns.
func (c *session) header(columns []native.Column) error {
	return c.data(func(b *proto.Buffer) {
		b.PutUVarInt(uint64(len(columns)))
		b.PutUVarInt(0)
		for _, column := range columns {
			b.PutString(column.Name)
			b.PutString(column.Type)
			if proto.FeatureCustomSerialization.In(c.revision) {
				b.PutBool(false)
			}
		}
	})
}

// block sends one of the engine's blocks.
func (c *session) block(blocks []byte, at native.Block) error {
	return c.data(func(b *proto.Buffer) {
		start := at.Start
		if proto.FeatureCustomSerialization.In(c.revision) {
			for _, column := range at.Columns {
				b.Buf = append(b.Buf, blocks[start:column.Data]...)
				b.PutBool(false)
				start = column.Data
			}
		}
		b.Buf = append(b.Buf, blocks[start:at.End]...)
	})
}

func (c *session) data(body func(*proto.Buffer)) error {
	proto.ServerCodeData.Encode(&c.out)
	c.out.PutString("") // the name of an external table
	start := len(c.out.Buf)
	proto.BlockInfo{BucketNum: -1}.Encode(&c.out)
	body(&c.out)
	if !c.compressed {
		return nil
	}
	if err := c.compressor.Compress(c.out.Buf[start:]); err != nil {
		return broken(err)
	}
	c.out.Buf = append(c.out.Buf[:start], c.compressor.Data...)
	return nil
}

// received is a block that the client has sent.
type received struct {
	table   string
	columns int
	rows    int
}

// end says that it is the empty block that ends the data.
func (r received) end() bool { return r.columns == 0 }

// receive reads the next block and appends it to dst. An error leaves the connection out of step.
func (c *session) receive(dst []byte) ([]byte, received, error) {
	packet, err := c.in.UVarInt()
	if err != nil {
		return dst, received{}, broken(err)
	}
	switch proto.ClientCode(packet) {
	case proto.ClientCodeData:
	case proto.ClientCodeCancel:
		return dst, received{}, &chdb.Error{Code: codeCancelled, Text: "DB::Exception: Query was cancelled by the client. (QUERY_WAS_CANCELLED_BY_CLIENT)"}
	default:
		return dst, received{}, broken(fmt.Errorf("packet %d where data is expected", packet))
	}
	table, err := c.in.Str()
	if err != nil {
		return dst, received{}, broken(err)
	}
	if c.compressed {
		c.in.EnableCompression()
		defer c.in.DisableCompression()
	}
	var info proto.BlockInfo
	if err := info.Decode(c.in); err != nil {
		return dst, received{}, broken(err)
	}
	r := native.NewReader(c.in, dst)
	read := r.Block
	if proto.FeatureCustomSerialization.In(c.revision) {
		read = r.WireBlock
	}
	block, err := read()
	if err != nil {
		return dst, received{}, broken(err)
	}
	return r.Bytes(), received{table: table, columns: len(block.Columns), rows: block.Rows}, nil
}
