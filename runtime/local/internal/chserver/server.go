// Package chserver serves ClickHouse's native TCP protocol in front of libchdb, for development
// and tests: the stock clickhouse-go client works against it unchanged.
//
// It speaks revision 54460 of the protocol (ClickHouse: src/Core/ProtocolDefines.h and
// src/Server/TCPHandler.cpp). SQL access to this engine is access to the files of its user, so it
// listens on loopback only and demands a password. External tables, WITH TOTALS and special column
// serializations are refused with an error; the connection goes on after any error of a statement.
package chserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"ponix/runtime/local/internal/chdb"
	"ponix/runtime/local/internal/native"
)

// Config is what an engine needs to know.
type Config struct {
	Library  string // path of libchdb
	Path     string // data directory, created if missing
	User     string
	Password string
	Database string // created if missing
	Memory   int64  // bytes that one query may use
}

// Server is a running engine.
type Server struct {
	config  Config
	log     *slog.Logger
	lib     *chdb.Library
	base    *chdb.Conn // kept open, since closing the last connection shuts the engine down
	baseMu  sync.Mutex
	version [3]int
	zone    string
	end     context.CancelCauseFunc // of Serve

	sessions atomic.Uint64
	open     sync.Map // net.Conn → struct{}
	serving  sync.WaitGroup
}

// Open loads the engine and opens its data. One process opens one engine, once.
func Open(config Config, log *slog.Logger) (*Server, error) {
	if config.Password == "" {
		return nil, errors.New("clickhouse: a password is required")
	}
	if err := os.MkdirAll(config.Path, 0o750); err != nil {
		return nil, err
	}
	if err := config.begin(); err != nil {
		return nil, err
	}
	lib, err := chdb.Load(config.Library)
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, log: log, lib: lib}
	if s.base, err = s.connect(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		s.base.Close()
		return nil, err
	}
	return s, nil
}

// connect opens a session of the engine.
func (s *Server) connect() (*chdb.Conn, error) {
	return s.lib.Connect("--path=" + s.config.Path)
}

func (s *Server) prepare() error {
	err := s.base.Query("SELECT version(), timezone()", nil, func(c chdb.Chunk) error {
		table, err := native.NewBytes(c.Data).Table()
		if err != nil || len(table) != 1 {
			return fmt.Errorf("version of the engine: %v, %w", table, err)
		}
		_, err = fmt.Sscanf(table[0][0], "%d.%d.%d", &s.version[0], &s.version[1], &s.version[2])
		s.zone = table[0][1]
		return err
	})
	if err != nil || s.config.Database == "" {
		return err
	}
	return s.base.Exec("CREATE DATABASE IF NOT EXISTS " + quoteName(s.config.Database))
}

// Version is that of the engine, "26.7.3".
func (s *Server) Version() string {
	return fmt.Sprintf("%d.%d.%d", s.version[0], s.version[1], s.version[2])
}

// Serve answers connections until ctx ends, then closes them, waits for the statements in flight
// and shuts the engine down. Queries that run are killed; an insert whose data has arrived is
// committed. After a write to a file that failed it returns errWrite at once, for the process to end.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return fmt.Errorf("clickhouse: %s is not a loopback address", listener.Addr())
	}
	ctx, s.end = context.WithCancelCause(ctx)
	defer s.end(nil)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	s.serving.Go(func() { s.watchWrites(ctx.Done()) })
	for {
		conn, err := listener.Accept()
		if errors.Is(context.Cause(ctx), errWrite) {
			return errWrite
		}
		if ctx.Err() != nil {
			err = nil
		} else if err == nil {
			s.open.Store(conn, struct{}{})
			s.serving.Go(func() { s.serve(conn) })
			continue
		}
		s.end(nil)
		s.shutdown()
		return err
	}
}

func (s *Server) shutdown() {
	s.open.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
	s.serving.Wait()
	err := s.written(s.base)
	s.base.Close()
	if err == nil {
		err = s.config.ended()
	}
	if err != nil {
		s.log.Warn("the engine did not end orderly", "error", err)
	}
}

func (s *Server) serve(conn net.Conn) {
	defer s.open.Delete(conn)
	defer func() { _ = conn.Close() }()
	c := newSession(s, conn, "ponix-"+strconv.FormatUint(s.sessions.Add(1), 10))
	if err := c.run(); err != nil && !disconnected(err) {
		s.log.Warn("connection ended", "client", conn.RemoteAddr(), "error", err)
	}
}

// kill stops what a session runs. The engine only marks the query and does not wait.
func (s *Server) kill(session string) {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	err := s.base.Exec("KILL QUERY WHERE Settings['log_comment'] = " + quote(session) + " ASYNC")
	if err != nil {
		s.log.Warn("cannot kill query", "session", session, "error", err)
	}
}
