package config

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Postgres is where organizations, devices and gateways live.
type Postgres struct {
	Host         string `name:"postgres-host" default:"${postgres_host=localhost}" help:"PostgreSQL's host, or several, comma separated, of which the primary is used; each may have a port of its own, host:port."`
	Port         uint16 `name:"postgres-port" default:"5432" help:"PostgreSQL's port."`
	Database     string `name:"postgres-database" default:"ponix" help:"PostgreSQL's database."`
	Username     string `name:"postgres-username" default:"ponix" help:"PostgreSQL's user; the password is PONIX_POSTGRES_PASSWORD or in the file below."`
	PasswordFile string `name:"postgres-password-file" type:"path" help:"File with PostgreSQL's password; each new connection reads it."`
	SSLMode      string `name:"postgres-sslmode" default:"prefer" enum:"disable,allow,prefer,require,verify-ca,verify-full" help:"TLS to PostgreSQL: ${enum}."`
	RootCert     string `name:"postgres-sslrootcert" type:"path" help:"File with the authorities that PostgreSQL is known by; verify-ca and verify-full need it, or the system's."`
	Cert         string `name:"postgres-sslcert" type:"path" help:"File with the client's certificate for PostgreSQL."`
	Key          string `name:"postgres-sslkey" type:"path" help:"File with the key of that certificate."`
	Connections  int32  `name:"postgres-connections" default:"8" help:"Connections that one process opens at most."`
	Prepared     string `name:"postgres-prepared-statements" default:"on" enum:"on,off" help:"Whether a connection keeps its statements prepared: ${enum}. Off is for a pooler that shares connections between transactions and does not keep them itself."`
}

// Password is PONIX_POSTGRES_PASSWORD, what the file holds now, or ponix.
func (c Postgres) Password() (string, error) {
	return secret("POSTGRES_PASSWORD", c.PasswordFile, "ponix")
}

// DSN is the connection URL, password included. The files that it names can be used.
func (c Postgres) DSN() (string, error) {
	driver, err := c.driver(new(validity))
	if err != nil {
		return "", err
	}
	return driver.ConnString(), nil
}

// driver is the driver's configuration, with what is in the files now. What there is to tell of
// the certificate in them it tells by v.
func (c Postgres) driver(v *validity) (*pgx.ConnConfig, error) {
	password, err := c.Password()
	if err != nil {
		return nil, err
	}
	servers, err := c.servers()
	if err != nil {
		return nil, err
	}
	if c.RootCert != "" && slices.Contains([]string{"disable", "allow", "prefer"}, c.SSLMode) {
		return nil, &Error{"PONIX_POSTGRES_SSLMODE", fmt.Errorf("is %s, by which any server will do: PONIX_POSTGRES_SSLROOTCERT is of use with verify-full, or with verify-ca", c.SSLMode)}
	}
	query := url.Values{
		"sslmode": {c.SSLMode}, "application_name": {"ponix"},
		"client_encoding": {"UTF8"}, // for which the driver takes texts, whatever a database or a user has by default
		"connect_timeout": {strconv.Itoa(int(dialEach(servers).Seconds()))},
	}
	if len(servers) > 1 {
		query.Set("target_session_attrs", "primary")
	}
	if c.Prepared == "off" {
		query.Set("default_query_exec_mode", "cache_describe")
	}
	for name, file := range map[string]string{"sslrootcert": c.RootCert, "sslcert": c.Cert, "sslkey": c.Key} {
		if file != "" {
			query.Set(name, file)
		}
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(c.Username, password),
		Host: strings.Join(servers, ","), Path: "/" + c.Database,
		RawQuery: query.Encode(),
	}
	driver, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, c.unusable()
	}
	if t := driver.TLSConfig; c.Cert != "" && t != nil && len(t.Certificates) > 0 {
		v.tell("PONIX_POSTGRES_SSLCERT", c.Cert, &t.Certificates[0])
	}
	return driver, nil
}

// servers are host:port.
func (c Postgres) servers() (servers []string, err error) {
	for host := range strings.SplitSeq(c.Host, ",") {
		host = strings.TrimSpace(host)
		if host == "" {
			return nil, &Error{"PONIX_POSTGRES_HOST", errors.New("must be a host, or several with commas between")}
		}
		if strings.Contains(host, "://") || strings.Index(host, "@") > 0 { // whose password an error would show
			return nil, &Error{"PONIX_POSTGRES_HOST", errors.New("must be a host, not a URL: user, password and database have variables of their own")}
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(c.Port))) // an IPv6 address may have brackets
		}
		servers = append(servers, host)
	}
	return servers, nil
}

// dialTimeout is how long a connection to an engine may take, all its servers together: the
// first of them may say nothing. Each has a second at least.
const dialTimeout = 5 * time.Second

func dialEach(servers []string) time.Duration {
	return max(dialTimeout/time.Duration(len(servers)), time.Second)
}

// pingTimeout is how long a connection that was idle may take to answer before it is taken for
// gone. A call that meets only such ones, of eight, has time left for a new one.
const pingTimeout = 2 * time.Second

// Pool returns a pool that connects when it is first used. Each connection is made with the
// password and the certificates that are in the files by then.
func (c Postgres) Pool(ctx context.Context) (*pgxpool.Pool, error) {
	var v validity
	current, err := Renewed(func() (*pgx.ConnConfig, error) { return c.driver(&v) })
	if err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig(current().ConnString())
	if err != nil {
		return nil, c.unusable()
	}
	pc.MaxConns, pc.MinConns = c.Connections, 0
	pc.PingTimeout = pingTimeout
	pc.BeforeConnect = func(_ context.Context, to *pgx.ConnConfig) error {
		now := current()
		to.Password, to.TLSConfig, to.Fallbacks = now.Password, now.TLSConfig, now.Fallbacks
		return nil
	}
	return pgxpool.NewWithConfig(ctx, pc)
}

// unusable says why the settings cannot be used. The driver's own error may show
// the password.
func (c Postgres) unusable() error {
	if (c.Cert == "") != (c.Key == "") {
		return &Error{"PONIX_POSTGRES_SSLCERT", errors.New("a certificate needs its key, PONIX_POSTGRES_SSLKEY, and the other way round")}
	}
	if c.RootCert != "" {
		if _, err := authorities(c.RootCert); err != nil {
			return &Error{"PONIX_POSTGRES_SSLROOTCERT", err}
		}
	}
	if c.Cert != "" {
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			return &Error{"PONIX_POSTGRES_SSLCERT", err}
		}
	}
	if os.Getenv("PGSERVICE") != "" { // which the driver reads, too
		return &Error{"PGSERVICE", errors.New("names no service of the file of services, or the address of PONIX_POSTGRES_HOST cannot be used")}
	}
	return &Error{"PONIX_POSTGRES_HOST", errors.New("the address cannot be used")}
}

// ClickHouse is where processed envelopes go.
type ClickHouse struct {
	URL          string        `name:"clickhouse-url" hidden:"" help:"Has no meaning any more: the native protocol is used."`
	NativeURL    string        `name:"clickhouse-native-url" default:"${clickhouse_url=localhost:9000}" help:"ClickHouse servers, host:port, comma separated (native protocol)."`
	Database     string        `name:"clickhouse-database" default:"ponix" help:"ClickHouse's database."`
	Username     string        `name:"clickhouse-username" default:"ponix" help:"ClickHouse's user; the password is PONIX_CLICKHOUSE_PASSWORD or in the file below."`
	PasswordFile string        `name:"clickhouse-password-file" type:"path" help:"File with ClickHouse's password; each new connection reads it."`
	TLS          string        `name:"clickhouse-tls" default:"off" enum:"off,on" help:"TLS to ClickHouse, whose port for it is 9440 by default: ${enum}."`
	CA           string        `name:"clickhouse-ca" type:"path" help:"File with the authorities that ClickHouse is known by, instead of the system's."`
	Cert         string        `name:"clickhouse-cert" type:"path" help:"File with the client's certificate for ClickHouse."`
	Key          string        `name:"clickhouse-key" type:"path" help:"File with the key of that certificate."`
	Cluster      string        `name:"clickhouse-cluster" help:"Name of a ClickHouse cluster on which the tables are replicated."`
	TTL          time.Duration `name:"clickhouse-ttl" help:"How long rows are kept after occurred_at; 0: for ever."`
	Connections  int           `name:"clickhouse-connections" default:"8" help:"Connections that one process opens at most."`
}

// Password is PONIX_CLICKHOUSE_PASSWORD, what the file holds now, or ponix.
func (c ClickHouse) Password() (string, error) {
	return secret("CLICKHOUSE_PASSWORD", c.PasswordFile, "ponix")
}

// Options are the driver's settings.
func (c ClickHouse) Options() (*clickhouse.Options, error) {
	password, err := Renewed(c.Password)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, a := range strings.Split(c.NativeURL, ",") {
		a = strings.TrimSpace(a)
		for _, scheme := range []string{"clickhouse://", "tcp://", "native://"} {
			a = strings.TrimPrefix(a, scheme)
		}
		_, port, err := net.SplitHostPort(a)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil || strings.Contains(a, "@") {
			return nil, &Error{"PONIX_CLICKHOUSE_NATIVE_URL", errors.New("must be host:port, or several with commas between; user, password and database have variables of their own")}
		}
		addrs = append(addrs, a)
	}
	own := newCertificate("PONIX_CLICKHOUSE_CERT", c.Cert, c.Key)
	encrypted, err := Renewed(func() (*tls.Config, error) { return c.tls(own) })
	if err != nil {
		return nil, err
	}
	each := dialEach(addrs) // the driver itself gives all of them the time of one
	return &clickhouse.Options{
		Addr:        addrs,
		TLS:         encrypted(),
		Auth:        clickhouse.Auth{Database: c.Database, Username: c.Username, Password: password()},
		DialContext: dial(each, encrypted),
		DialStrategy: func(ctx context.Context, id int, o *clickhouse.Options, dial clickhouse.Dial) (clickhouse.DialResult, error) {
			now := *o
			now.Auth.Password, now.DialTimeout = password(), each
			return clickhouse.DefaultDialStrategy(ctx, id, &now, dial)
		},
		DialTimeout:  dialTimeout, // for one of the pool's connections, too
		ReadTimeout:  time.Minute,
		MaxOpenConns: c.Connections, MaxIdleConns: c.Connections,
		ConnMaxLifetime: time.Hour,
		Settings: clickhouse.Settings{
			// A JSON column is read as text: exact, and it needs no types.
			"output_format_native_write_json_as_string": 1,
		},
	}, nil
}

// dial connects to a server within a time, or until ctx is done, which the driver's own
// way does not look at.
func dial(within time.Duration, encrypted func() *tls.Config) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		config := encrypted()
		if config == nil {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return &plainConn{TCPConn: conn.(*net.TCPConn)}, nil
		}
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
		if errors.Is(err, io.EOF) { // which alone says nothing
			err = fmt.Errorf("%s hung up on TLS, as a port without it does (PONIX_CLICKHOUSE_TLS, and 9440 is the usual port with it): %w", addr, err)
		}
		return conn, about(err, "PONIX_CLICKHOUSE_CA", "PONIX_CLICKHOUSE_CERT")
	}
}

func (c ClickHouse) tls(own *certificate) (*tls.Config, error) {
	if c.TLS == "on" {
		if (c.Cert == "") != (c.Key == "") {
			return nil, &Error{"PONIX_CLICKHOUSE_CERT", errors.New("a certificate needs its key, PONIX_CLICKHOUSE_KEY, and the other way round")}
		}
		return clientTLS("PONIX_CLICKHOUSE", c.CA, own)
	}
	if c.CA+c.Cert+c.Key != "" {
		return nil, &Error{"PONIX_CLICKHOUSE_TLS", errors.New("is off, but there are certificates for it")}
	}
	return nil, nil
}

// Redacted is where the servers are, for people.
func (c ClickHouse) Redacted() string { return redact(c.NativeURL) }

// Open returns a connection pool that connects when it is first used.
func (c ClickHouse) Open() (driver.Conn, error) {
	o, err := c.Options()
	if err != nil {
		return nil, err
	}
	return clickhouse.Open(o)
}
