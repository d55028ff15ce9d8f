package chserver

import (
	"bufio"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"

	"ponix/runtime/local/internal/chdb"
)

const (
	// revision is the newest whose packets this server knows; later ones add chunked packets.
	revision = 54460
	// oldest is the first with the fields that this server always reads and writes.
	oldest = 54442

	handshakeTimeout = 10 * time.Second
	readBuffer       = 256 << 10 // bytes
	keepBuffer       = 8 << 20   // bytes of an idle session's buffers
)

// The codes of ClickHouse's src/Common/ErrorCodes.cpp that this server gives itself.
const (
	codeNoSuchColumn   = 16
	codeNotImplemented = 48
	codeUnknownSetting = 115
	codeCancelled      = 394
	codeAuthentication = 516
	codeUnknown        = 1002
)

// session is one client connection with its own session of the engine.
type session struct {
	server   *Server
	conn     net.Conn
	buffered *bufio.Reader
	in       *proto.Reader
	out      proto.Buffer
	id       string // its statements carry it as log_comment: the handle for KILL QUERY
	revision int
	db       *chdb.Conn
	settings map[string]string // those that stand in db beyond its own

	compressed bool // both ways, as the current query asks
	compressor *compress.Writer
	insertBuf  []byte
}

func newSession(s *Server, conn net.Conn, id string) *session {
	buffered := bufio.NewReaderSize(conn, readBuffer)
	return &session{
		server: s, conn: conn, id: id, buffered: buffered, in: proto.NewReader(buffered),
		compressor: compress.NewWriter(compress.LevelZero, compress.LZ4),
	}
}

// run serves the connection until it ends or falls out of step.
func (c *session) run() error {
	defer func() {
		if c.db != nil {
			c.db.Close()
		}
	}()
	if err := c.handshake(); err != nil {
		return err
	}
	for {
		packet, err := c.in.UVarInt()
		if err != nil {
			return err
		}
		switch proto.ClientCode(packet) {
		case proto.ClientCodePing:
			proto.ServerCodePong.Encode(&c.out)
			err = c.flush()
		case proto.ClientCodeCancel: // of a query that has just ended
		case proto.ClientCodeQuery:
			err = c.query()
		default:
			err = fmt.Errorf("unexpected packet %d", packet)
		}
		if err != nil {
			return err
		}
	}
}

func (c *session) handshake() error {
	_ = c.conn.SetReadDeadline(time.Now().Add(handshakeTimeout))
	packet, err := c.in.UVarInt()
	if err != nil {
		return err
	}
	if proto.ClientCode(packet) != proto.ClientCodeHello {
		return fmt.Errorf("packet %d where hello is expected", packet)
	}
	var hello proto.ClientHello
	if err := hello.Decode(c.in); err != nil {
		return err
	}
	if err := c.open(hello); err != nil {
		return errors.Join(err, c.exception(err))
	}
	if err := c.welcome(); err != nil {
		return err
	}
	if proto.FeatureAddendum.In(c.revision) {
		if _, err := c.in.Str(); err != nil { // the quota key
			return err
		}
	}
	return c.conn.SetReadDeadline(time.Time{})
}

// open checks who it is and opens a session of the engine.
func (c *session) open(hello proto.ClientHello) (err error) {
	c.revision = min(revision, hello.ProtocolVersion)
	if c.revision < oldest {
		return &chdb.Error{Code: codeNotImplemented, Text: "DB::Exception: the client's protocol is too old"}
	}
	config := c.server.config
	user := subtle.ConstantTimeCompare([]byte(hello.User), []byte(config.User))
	password := subtle.ConstantTimeCompare([]byte(hello.Password), []byte(config.Password))
	if user&password != 1 {
		return &chdb.Error{Code: codeAuthentication, Text: "DB::Exception: " + hello.User +
			": Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)"}
	}
	if c.db, err = c.server.connect(); err != nil {
		return err
	}
	if err := c.db.Exec("SET " + strings.Join(assignments(c.own()), ", ")); err != nil {
		return err
	}
	if hello.Database == "" {
		return nil
	}
	return c.db.Exec("USE " + quoteName(hello.Database))
}

// own are the settings that a session has of itself. clickhouse-go reads JSON and Dynamic in
// their flattened serialization only.
func (c *session) own() map[string]string {
	return map[string]string{
		"output_format_native_use_flattened_dynamic_and_json_serialization": "1",

		"log_comment":      c.id,
		"max_memory_usage": strconv.FormatInt(c.server.config.Memory, 10),
	}
}

func (c *session) welcome() error {
	v := c.server.version
	hello := proto.ServerHello{
		Name: "ClickHouse", Major: v[0], Minor: v[1], Patch: v[2],
		Revision: revision, Timezone: c.server.zone, DisplayName: "ponix",
	}
	hello.EncodeAware(&c.out, c.revision)
	return c.flush()
}

// disconnected says that the client went away, which is no one's mistake.
func disconnected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
