package chserver

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/ClickHouse/ch-go/proto"

	"ponix/runtime/local/internal/chdb"
	"ponix/runtime/local/internal/native"
)

// query answers one Query packet. Its error ends the connection; that of the statement is sent.
func (c *session) query() error {
	var q proto.Query
	if err := q.DecodeAware(c.in, c.revision); err != nil {
		return err
	}
	c.compressed = q.Compression == proto.CompressionEnabled
	external, err := c.external()
	if err != nil {
		return err
	}
	if external == nil {
		external = c.execute(&q)
	}
	if b := (brokenError{}); errors.As(external, &b) {
		return external
	}
	if external != nil {
		return c.exception(external)
	}
	proto.ServerCodeEndOfStream.Encode(&c.out)
	return c.flush()
}

// external reads the external tables that follow a query, ended by an empty block. There may be
// none: refused is the answer to one.
func (c *session) external() (refused, err error) {
	for {
		_, got, err := c.receive(nil)
		if err != nil {
			return nil, err
		}
		if got.end() {
			return refused, nil
		}
		refused = notImplemented("External table " + got.table)
	}
}

func notImplemented(what string) error {
	return &chdb.Error{Code: codeNotImplemented, Text: "DB::Exception: " + what + " is not supported by the local ClickHouse. (NOT_IMPLEMENTED)"}
}

func (c *session) execute(q *proto.Query) error {
	if err := c.apply(q); err != nil {
		return err
	}
	s := parse(q.Body)
	switch s.form {
	case insert:
		return cmp.Or(c.insert(s), c.server.written(c.db))
	case stream, table:
		if s.totals() {
			return notImplemented("WITH TOTALS (use WITH ROLLUP)")
		}
		defer c.watch()()
		return c.read(s, params(q))
	default:
		defer c.watch()()
		return cmp.Or(c.db.Query(s.sql, params(q), func(chunk chdb.Chunk) error {
			c.progress(chunk.Rows, chunk.Bytes, 0)
			return nil
		}), c.server.written(c.db))
	}
}

// read passes the result on as it comes, after a header block that tells the columns.
func (c *session) read(s statement, params []chdb.Param) error {
	run := c.db.Query
	if s.form == stream {
		run = c.db.Stream
	}
	told := false
	err := run(s.sql, params, func(chunk chdb.Chunk) error {
		r := native.NewBytes(chunk.Data)
		for r.More() {
			block, err := r.Block()
			if err != nil {
				return err
			}
			if !told {
				if err := c.header(block.Columns); err != nil {
					return err
				}
				told = true
			}
			if block.Rows == 0 {
				continue
			}
			if err := errors.Join(c.block(chunk.Data, block), c.flush()); err != nil {
				return err
			}
		}
		c.progress(chunk.Rows, chunk.Bytes, 0)
		return nil
	})
	if err != nil || told {
		return err
	}
	columns, err := c.columns(s, params) // which an empty result does not name
	if err != nil {
		return err
	}
	return c.header(columns)
}

// columns returns those of a query's result. SHOW and its like cannot be described, but are
// quickly asked again in a format that names its columns.
func (c *session) columns(s statement, params []chdb.Param) ([]native.Column, error) {
	var out []native.Column
	if s.form == stream {
		all, err := c.describe("("+s.sql+"\n)", params)
		for _, d := range all {
			out = append(out, d.Column)
		}
		return out, err
	}
	var result struct{ Meta []native.Column }
	err := c.db.QueryAs("JSONCompact", s.sql, params, func(chunk chdb.Chunk) error {
		return json.Unmarshal(chunk.Data, &result)
	})
	return result.Meta, err
}

// described is a row of DESCRIBE TABLE.
type described struct {
	native.Column
	origin string // "", DEFAULT, MATERIALIZED, ALIAS or EPHEMERAL
}

// describe returns the columns of a table or of a query in parentheses.
func (c *session) describe(what string, params []chdb.Param) ([]described, error) {
	var out []described
	err := c.db.Query("DESCRIBE TABLE "+what, params, func(chunk chdb.Chunk) error {
		rows, err := native.NewBytes(chunk.Data).Table()
		for _, row := range rows {
			out = append(out, described{native.Column{Name: row[0], Type: row[1]}, row[2]})
		}
		return err
	})
	return out, err
}
