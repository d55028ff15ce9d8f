package chdb

import (
	"errors"
	"runtime"
	"unsafe"
)

// Conn is one session of the engine. It serves one call at a time; calls block until done.
type Conn struct {
	lib    *Library
	handle *ptr
}

// Param is the value of a {name:Type} placeholder, in the text form that ClickHouse escapes.
type Param struct{ Name, Value string }

// Chunk is a piece of a result: Native blocks, valid only until the callback returns, and the rows
// and bytes that the engine has read for it.
type Chunk struct {
	Data        []byte
	Rows, Bytes uint64
}

// Connect opens a session. The first one starts the engine with args, which are those of
// clickhouse-local ("--path=DIR"); later ones must repeat them.
func (l *Library) Connect(args ...string) (*Conn, error) {
	argv := make([]ptr, 0, len(args)+1)
	for _, arg := range append([]string{"clickhouse"}, args...) {
		argv = append(argv, ptr(unsafe.SliceData(append([]byte(arg), 0))))
	}
	handle := l.connect(int32(len(argv)), &argv[0])
	runtime.KeepAlive(argv)
	if handle == nil {
		return nil, errors.New("libchdb did not open a connection; the reason is in its log")
	}
	return &Conn{lib: l, handle: handle}, nil
}

// Close ends the session.
func (c *Conn) Close() { c.lib.close(c.handle) }

// Exec runs a statement whose result does not matter.
func (c *Conn) Exec(sql string) error {
	return c.Query(sql, nil, func(Chunk) error { return nil })
}

// Query runs a statement and hands its whole result to f, also when it is empty.
// It returns the engine's error as an *Error, or that of f.
func (c *Conn) Query(sql string, params []Param, f func(Chunk) error) error {
	return c.QueryAs("Native", sql, params, f)
}

// QueryAs is Query with the result in another of ClickHouse's formats.
func (c *Conn) QueryAs(format, sql string, params []Param, f func(Chunk) error) error {
	result := c.call(c.lib.query, format, sql, params)
	if result == nil {
		return f(Chunk{})
	}
	defer c.lib.destroyResult(result)
	if text := c.lib.resultError(result); text != "" {
		return parseError(text)
	}
	return f(c.chunk(result))
}

// Stream runs a query and hands its result to f piece by piece as the engine produces it. An error
// of f cancels the query and is returned.
func (c *Conn) Stream(sql string, params []Param, f func(Chunk) error) error {
	stream := c.call(c.lib.stream, "Native", sql, params)
	if stream == nil {
		return nil
	}
	defer c.lib.destroyResult(stream)
	if text := c.lib.resultError(stream); text != "" {
		return parseError(text)
	}
	for {
		more, err := c.next(stream, f)
		if err != nil || !more {
			return err
		}
	}
}

func (c *Conn) next(stream ptr, f func(Chunk) error) (more bool, err error) {
	result := c.lib.fetch(*c.handle, stream)
	if result == nil {
		return false, nil
	}
	defer c.lib.destroyResult(result)
	if text := c.lib.resultError(result); text != "" {
		return false, parseError(text)
	}
	chunk := c.chunk(result)
	if len(chunk.Data) == 0 {
		return false, nil
	}
	if err := f(chunk); err != nil {
		c.lib.cancel(*c.handle, stream)
		return false, err
	}
	return true, nil
}

func (c *Conn) call(run statement, format, sql string, params []Param) ptr {
	names, nameLens := pack(params, func(p Param) string { return p.Name })
	values, valueLens := pack(params, func(p Param) string { return p.Value })
	text, form := []byte(sql), []byte(format)
	result := run(*c.handle, data(text), uintptr(len(text)), data(form), uintptr(len(form)),
		data(names), data(nameLens), data(values), data(valueLens), uintptr(len(params)))
	for _, used := range []any{text, form, names, nameLens, values, valueLens} {
		runtime.KeepAlive(used)
	}
	return result
}

func (c *Conn) chunk(result ptr) Chunk {
	out := Chunk{Rows: c.lib.resultRows(result), Bytes: c.lib.resultBytes(result)}
	if n := c.lib.resultLength(result); n > 0 {
		out.Data = unsafe.Slice((*byte)(c.lib.resultBuffer(result)), n)
	}
	return out
}

// pack lays strings out as C expects them: an array of addresses and one of lengths.
func pack(params []Param, field func(Param) string) ([]ptr, []uintptr) {
	texts, lengths := make([]ptr, len(params)), make([]uintptr, len(params))
	for i, p := range params {
		texts[i], lengths[i] = data(append([]byte(field(p)), 0)), uintptr(len(field(p)))
	}
	return texts, lengths
}

func data[T any](s []T) ptr {
	if len(s) == 0 {
		return nil
	}
	return ptr(unsafe.SliceData(s))
}
