package chdb

import "runtime"

// Insert is an INSERT that is being fed. Until Done nothing is promised; the engine commits what
// was appended in blocks of its own choosing.
type Insert struct {
	lib    *Library
	handle ptr
}

// Insert opens one. The statement ends before its FORMAT: "INSERT INTO t (a, b)".
func (c *Conn) Insert(sql string) (*Insert, error) {
	text, format := []byte(sql), []byte("Native")
	handle := c.lib.insert(*c.handle, data(text), uintptr(len(text)), data(format), uintptr(len(format)))
	runtime.KeepAlive(text)
	runtime.KeepAlive(format)
	i := &Insert{lib: c.lib, handle: handle}
	if text := c.lib.insertError(handle); text != "" {
		i.Close()
		return nil, parseError(text)
	}
	return i, nil
}

// Append adds Native blocks; the library has copied them when it returns.
func (i *Insert) Append(blocks []byte) error {
	failed := i.lib.insertAppend(i.handle, data(blocks), uintptr(len(blocks)))
	runtime.KeepAlive(blocks)
	if failed != 0 {
		return parseError(i.lib.insertError(i.handle))
	}
	return nil
}

// Done ends the data and returns when the engine has committed all of it.
func (i *Insert) Done() error {
	result := i.lib.insertDone(i.handle)
	if result == nil {
		return nil
	}
	defer i.lib.destroyResult(result)
	if text := i.lib.resultError(result); text != "" {
		return parseError(text)
	}
	return nil
}

// Close frees the insert, and cancels it if Done was not called.
func (i *Insert) Close() { i.lib.destroyInsert(i.handle) }
