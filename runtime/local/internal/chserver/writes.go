package chserver

import (
	"errors"
	"strconv"
	"time"

	"ponix/runtime/local/internal/chdb"
	"ponix/runtime/local/internal/native"
)

// errWrite ends the engine. Where a write to a file fails, ClickHouse throws; chDB's build of it
// counts the failure and goes on, and so acknowledges inserts, and puts merged parts into the
// place of good ones, whose files are empty (chdb-io/chdb:
// src/IO/WriteBufferFromFileDescriptor.cpp, nextImpl). When an engine starts, it takes such parts
// away and goes back to those that they were made of, which stay for old_parts_lifetime, 8 minutes.
var errWrite = errors.New("a write to a file failed, most likely because the disk is full; nothing that was acknowledged is lost: make room, and start again")

// checkEvery is the time between two looks at what the engine's merges have written.
const checkEvery = time.Second

// written returns nil if every write of the engine to a file has succeeded, and ends the server
// otherwise. Before it, nothing that changes data is acknowledged.
func (s *Server) written(db *chdb.Conn) error {
	failed := uint64(0)
	err := db.Query("SELECT toString(value) FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'", nil, func(c chdb.Chunk) error {
		table, err := native.NewBytes(c.Data).Table()
		if err != nil || len(table) == 0 {
			return err
		}
		failed, err = strconv.ParseUint(table[0][0], 10, 64)
		return err
	})
	if err != nil || failed == 0 {
		return err
	}
	s.end(errWrite)
	return brokenError{errWrite}
}

// watchWrites calls written until the server ends.
func (s *Server) watchWrites(done <-chan struct{}) {
	for tick := time.NewTicker(checkEvery); ; {
		select {
		case <-done:
			tick.Stop()
			return
		case <-tick.C:
			s.baseMu.Lock()
			err := s.written(s.base)
			s.baseMu.Unlock()
			if err != nil {
				s.log.Warn("look at failed writes", "error", err)
			}
		}
	}
}
