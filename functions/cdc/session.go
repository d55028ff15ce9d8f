package cdc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// session is a replication connection. It also runs SQL, by the simple protocol,
// until it streams: the lock of the slot's owner, the slot and its snapshot are
// all held by one connection, and end with it.
type session struct {
	conn   *pgconn.PgConn
	socket net.Conn
	inlet  *inlet
}

// settings are those of the session, so that texts come as they are read here and
// PostgreSQL soon gives up an owner that is hung or cut off. The kernel closes the
// connections of one that is killed.
var settings = map[string]string{
	"replication":       "database",
	"application_name":  "ponix cdc",
	"client_encoding":   "UTF8",
	"statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0",
	"wal_sender_timeout":                  "4s",
	"idle_in_transaction_session_timeout": "30s", // between two pieces of the snapshot
	"client_connection_check_interval":    "2s",  // while the slot is being created
	"row_security":                        "off", // an error, and not a snapshot without the rows that a policy hides
	"tcp_keepalives_idle":                 "1", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "3", "tcp_user_timeout": "4000",
}

// connect opens a replication connection to where the pool's go, with their TLS.
func connect(ctx context.Context, db *pgxpool.Pool) (*session, error) {
	pool := db.Config()
	if renew := pool.BeforeConnect; renew != nil { // its password may have changed
		if err := renew(ctx, pool.ConnConfig); err != nil {
			return nil, err
		}
	}
	config := pool.ConnConfig.Config.Copy()
	maps.Copy(config.RuntimeParams, settings)
	config.ConnectTimeout = 5 * time.Second
	s := &session{}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil && s.conn == nil { // a later request to cancel is not ours
			s.socket = conn
		}
		return conn, err
	}
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		s.inlet = &inlet{Reader: r}
		return pgproto3.NewFrontend(bufio.NewReaderSize(s.inlet, readSize), w)
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, unlessPooled(err)
	}
	s.conn = conn
	if _, err := s.rows(ctx, untimedSQL); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// unlessPooled says what is wrong where a pooler is in front of PostgreSQL: PgBouncer takes
// none of our settings, whichever comes first.
func unlessPooled(err error) error {
	if hasCode(err, "08P01") { // protocol_violation
		return fmt.Errorf("cdc needs PostgreSQL itself, with no pooler in front of it: %w", err)
	}
	return err
}

// untimedSQL takes the limit off a transaction's time, which PostgreSQL has from version 17
// on: it would end a snapshot, and the reading of a large transaction, again and again.
const untimedSQL = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'"

const (
	// readSize is how much is read at a time, if it is there.
	readSize = 256 << 10
	// little is what a read gets from a PostgreSQL that is slower than we are, and
	// pause how long it then may write on.
	little = 32 << 10
	pause  = time.Millisecond
)

// inlet reads what is there in one go, and what was read before is handled by then. While
// events are on their way anyway, it lets PostgreSQL write before it reads again: a reader
// that is faster is woken for every few bytes, and slows down both.
type inlet struct {
	io.Reader
	handled func()      // nil: nothing
	busy    func() bool // nil: never
	last    int
}

func (s *inlet) Read(b []byte) (n int, err error) {
	if s.handled != nil {
		s.handled()
	}
	if s.last < little && s.busy != nil && s.busy() {
		time.Sleep(pause)
	}
	n, err = s.Reader.Read(b)
	s.last = n
	return n, err
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx) //nolint:errcheck // it may be gone already
	s.socket.Close()  //nolint:errcheck // pgx keeps one for seconds that a statement was given up on, and PostgreSQL the lock
}

// rows runs SQL that waits for nothing, and returns what its last statement does.
func (s *session) rows(ctx context.Context, sql string) ([][][]byte, error) {
	ctx, cancel := unlessSilent(ctx)
	defer cancel()
	return s.wait(ctx, sql)
}

// wait is rows for SQL that may wait for others, however long.
func (s *session) wait(ctx context.Context, sql string) ([][][]byte, error) {
	results, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%.60s: %w", strings.TrimSpace(sql), because(ctx, err))
	}
	if len(results) == 0 {
		return nil, nil
	}
	return results[len(results)-1].Rows, nil
}

// truth runs SQL that returns one boolean, or none, which is false.
func (s *session) truth(ctx context.Context, sql string) (bool, error) {
	rows, err := s.rows(ctx, sql)
	return len(rows) == 1 && string(rows[0][0]) == "t", err
}

// lock tells whether this session is now the only one that works on the slot.
func (s *session) lock(ctx context.Context, slot string) (bool, error) {
	return s.truth(ctx, "SELECT pg_try_advisory_lock("+lockKey(slot)+")")
}

// lockKey is SQL for the key of the advisory lock that the slot's owner holds.
func lockKey(slot string) string { return "hashtextextended(" + literal("ponix cdc "+slot) + ", 0)" }

// holderSQL is SQL for the process that holds the lock, NULL for none. An advisory
// lock's key is in two columns (PostgreSQL's manual, "pg_locks").
func holderSQL(slot string) string {
	return `(SELECT l.pid FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()
		AND (l.classid::bigint << 32) | l.objid::bigint = ` + lockKey(slot) + ` LIMIT 1)`
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func identifier(s string) string { return pgx.Identifier{s}.Sanitize() }

// hasCode tells whether err is PostgreSQL's error of that SQLSTATE.
func hasCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}
