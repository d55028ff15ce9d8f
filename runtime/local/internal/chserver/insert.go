package chserver

import (
	"errors"
	"strings"

	"ponix/runtime/local/internal/chdb"
	"ponix/runtime/local/internal/native"
)

// feedAt is how many bytes of blocks are collected before the engine gets them. An insert below
// it is all or nothing.
const feedAt = 32 << 20

// insert tells the client the columns, takes its blocks and answers when they are committed.
func (c *session) insert(s statement) error {
	columns, err := c.insertable(s)
	if err != nil {
		return err
	}
	if err := errors.Join(c.header(columns), c.flush()); err != nil {
		return err
	}
	sql := "INSERT INTO " + s.target + " " + s.columns
	if s.settings != "" {
		sql += " SETTINGS " + s.settings
	}
	f := &feed{db: c.db, sql: sql, buf: c.insertBuf[:0]}
	defer f.close()
	err = c.collect(f)
	if c.insertBuf = f.buf; cap(f.buf) > keepBuffer {
		c.insertBuf = nil
	}
	if err != nil {
		return err
	}
	if err := f.done(); err != nil {
		return err
	}
	c.progress(0, 0, uint64(f.rows))
	return nil
}

// insertable returns the columns that the client has to send, in the order of the statement's list.
func (c *session) insertable(s statement) ([]native.Column, error) {
	all, err := c.describe(s.target, nil)
	if err != nil {
		return nil, err
	}
	var out []native.Column
	byName := map[string]native.Column{}
	for _, d := range all {
		if d.origin == "MATERIALIZED" || d.origin == "ALIAS" {
			continue
		}
		byName[d.Name] = d.Column
		if d.origin != "EPHEMERAL" {
			out = append(out, d.Column)
		}
	}
	if s.columns == "" {
		return out, nil
	}
	out = nil
	for _, name := range native.SplitList(s.columns[1 : len(s.columns)-1]) {
		name = strings.Trim(name, "`\"")
		column, ok := byName[name]
		if !ok {
			return nil, &chdb.Error{Code: codeNoSuchColumn, Text: "DB::Exception: No such column " + name + " in table " + s.target + ". (NO_SUCH_COLUMN_IN_TABLE)"}
		}
		out = append(out, column)
	}
	return out, nil
}

// collect reads blocks up to the empty one that ends them. After an error of the engine it reads
// on, so that the connection stays in step, and then returns the error.
func (c *session) collect(f *feed) error {
	var failed error
	for {
		buf, got, err := c.receive(f.buf)
		if err != nil {
			return errors.Join(err, failed)
		}
		if got.end() {
			return failed
		}
		if failed != nil {
			continue
		}
		f.buf = buf
		f.rows += got.rows
		if len(f.buf) >= feedAt {
			failed = f.push()
		}
	}
}

// feed hands collected blocks to the engine.
type feed struct {
	db     *chdb.Conn
	sql    string
	buf    []byte
	rows   int
	insert *chdb.Insert // nil before the first push
}

func (f *feed) push() (err error) {
	if f.insert == nil {
		if f.insert, err = f.db.Insert(f.sql); err != nil {
			return err
		}
	}
	err = f.insert.Append(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *feed) done() error {
	if f.rows == 0 {
		return nil
	}
	if err := f.push(); err != nil {
		return err
	}
	return f.insert.Done()
}

func (f *feed) close() {
	if f.insert != nil {
		f.insert.Close()
	}
}
