// Package chdb binds libchdb, the ClickHouse engine as a shared library, without cgo.
//
// It covers what a server in front of the engine needs and no more: connections, statements whose
// result is one buffer, statements whose result is a stream, and inserts fed from memory. All data
// is in ClickHouse's Native format. The symbols are those of chdb.h of libchdb 26.7.
//
// The engine is one per process. Connections share it; each has its own settings and current
// database and serves one statement at a time. Closing the last one shuts the engine down.
package chdb

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// ptr is an address on either side; those of the library are never dereferenced as Go values.
type ptr = unsafe.Pointer

// Library is libchdb, loaded. A process loads it once.
type Library struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv *ptr) *ptr
	close             func(conn *ptr)

	query  statement
	stream statement
	fetch  func(conn, stream ptr) ptr
	cancel func(conn, stream ptr)

	resultBuffer  func(result ptr) ptr
	resultLength  func(result ptr) uintptr
	resultError   func(result ptr) string
	resultRows    func(result ptr) uint64
	resultBytes   func(result ptr) uint64
	destroyResult func(result ptr)

	insert        func(conn, sql ptr, sqlLen uintptr, format ptr, formatLen uintptr) ptr
	insertAppend  func(insert, data ptr, n uintptr) int32
	insertDone    func(insert ptr) ptr
	insertError   func(insert ptr) string
	destroyInsert func(insert ptr)
}

type statement func(conn, sql ptr, sqlLen uintptr, format ptr, formatLen uintptr, names, nameLens, values, valueLens ptr, n uintptr) ptr

// Load opens the shared library at path. Its signal handlers are turned off, so that Go's stay in
// force.
func Load(path string) (*Library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load libchdb: %w", err)
	}
	l := new(Library)
	for name, fn := range l.symbols() {
		address, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("%s is not a libchdb of version 26.7 or later: %w", path, err)
		}
		purego.RegisterFunc(fn, address)
	}
	l.setSignalHandlers(0)
	return l, nil
}

func (l *Library) symbols() map[string]any {
	return map[string]any{
		"chdb_set_signal_handlers_enabled": &l.setSignalHandlers,
		"chdb_connect":                     &l.connect,
		"chdb_close_conn":                  &l.close,
		"chdb_query_with_params_n":         &l.query,
		"chdb_stream_query_with_params_n":  &l.stream,
		"chdb_stream_fetch_result":         &l.fetch,
		"chdb_stream_cancel_query":         &l.cancel,
		"chdb_result_buffer":               &l.resultBuffer,
		"chdb_result_length":               &l.resultLength,
		"chdb_result_error":                &l.resultError,
		"chdb_result_storage_rows_read":    &l.resultRows,
		"chdb_result_storage_bytes_read":   &l.resultBytes,
		"chdb_destroy_query_result":        &l.destroyResult,
		"chdb_stream_insert_n":             &l.insert,
		"chdb_stream_append":               &l.insertAppend,
		"chdb_stream_done":                 &l.insertDone,
		"chdb_stream_insert_error":         &l.insertError,
		"chdb_destroy_insert_stream":       &l.destroyInsert,
	}
}
