package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
)

// Explained is err, with the variable to look at where it is one of certificates on the way to
// PostgreSQL or ClickHouse, whose drivers do not ask us before they return it, of a port that
// is another's, of a JetStream that is not there, or of a setting that the engine does not take.
func Explained(err error) error {
	setting := wrongSetting(err)
	switch {
	case errors.Is(err, nats.ErrNoResponders): // of a function a call says so itself
		return fmt.Errorf("%w: JetStream may be off in the NATS server (nats-server --jetstream), have no leader yet, or be in another domain (PONIX_NATS_JETSTREAM_DOMAIN)", err)
	case errors.Is(err, clickhouse.ErrUnsupportedServerRevision), err != nil && strings.Contains(err.Error(), "[handshake] unexpected packet "):
		return fmt.Errorf("%w: what answers does not speak ClickHouse's native protocol, whose port is usually 9000, and that of HTTP 8123 (PONIX_CLICKHOUSE_NATIVE_URL)", err)
	case setting != "":
		return fmt.Errorf("%w: see %s", err, setting)
	case errors.As(err, new(*pgconn.ConnectError)):
		return about(err, "PONIX_POSTGRES_SSLROOTCERT", "PONIX_POSTGRES_SSLCERT")
	case err != nil && strings.Contains(err.Error(), "handshake: failed to read packet from "): // as ClickHouse's says
		return about(err, "PONIX_CLICKHOUSE_CA", "PONIX_CLICKHOUSE_CERT")
	}
	return err
}

// wrongSetting is the variable that an engine says is wrong, by the codes of PostgreSQL's manual,
// appendix A, and of ClickHouse's src/Common/ErrorCodes.cpp; empty where it says nothing of the kind.
func wrongSetting(err error) string {
	var pg *pgconn.PgError
	var ch *clickhouse.Exception
	switch {
	case errors.As(err, &pg) && (pg.Code == "28P01" || pg.Code == "28000" && strings.Contains(pg.Message, "role")): // invalid_password, and no such role
		return "PONIX_POSTGRES_USERNAME and PONIX_POSTGRES_PASSWORD"
	case errors.As(err, &pg) && pg.Code == "3D000": // invalid_catalog_name
		return "PONIX_POSTGRES_DATABASE; `ponix migrate` makes tables, and no database"
	case errors.As(err, &pg) && (pg.Code == "26000" || pg.Code == "42P05"): // invalid_sql_statement_name, duplicate_prepared_statement
		return "PONIX_POSTGRES_PREPARED_STATEMENTS, where a pooler shares connections between transactions; `ponix migrate` needs PostgreSQL itself"
	case errors.As(err, &pg) && pg.Code == "53300" && !strings.Contains(pg.Message, "max_wal_senders"): // too_many_connections
		return "PONIX_POSTGRES_CONNECTIONS, which each process may open"
	case errors.As(err, &ch) && ch.Code == 516: // AUTHENTICATION_FAILED
		return "PONIX_CLICKHOUSE_USERNAME and PONIX_CLICKHOUSE_PASSWORD"
	case errors.As(err, &ch) && ch.Code == 81: // UNKNOWN_DATABASE
		return "PONIX_CLICKHOUSE_DATABASE; `ponix migrate` makes tables, and no database"
	}
	return ""
}

// about names what a certificate that is not taken is in: ca for the server's, own for ours.
func about(err error, ca, own string) error {
	if err == nil {
		return nil
	}
	_, alert, _ := strings.Cut(err.Error(), "remote error: tls: ")
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%w: %s has the authorities that the server is known by", err, ca)
	case strings.Contains(alert, "certificate"), strings.Contains(err.Error(), "requires a valid client certificate"): // as PostgreSQL says
		return fmt.Errorf("%w: ours is meant, that of %s", err, own)
	}
	return err
}

// plainConn is a connection to ClickHouse without TLS.
type plainConn struct {
	*net.TCPConn
	heard bool
}

// Read has the error of a server that hangs up before it has said anything tell what may be
// wrong.
func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if !c.heard && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		err = fmt.Errorf("%w: a port with TLS hangs up so, and PONIX_CLICKHOUSE_TLS is off", err)
	}
	c.heard = c.heard || n > 0
	return n, err
}
