package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
)

// NATS is the server or cluster that everything goes through.
type NATS struct {
	URL   string `name:"nats-url" default:"${nats_url=nats://localhost:4222}" help:"NATS servers, comma separated."`
	Creds string `name:"nats-creds" type:"path" help:"File with NATS credentials."`
}

// Dial connects for one command, and fails where no server answers.
func (c NATS) Dial(name string) (*nats.Conn, error) {
	opts := []nats.Option{nats.Name(name), nats.Timeout(5 * time.Second)}
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	nc, err := nats.Connect(c.URL, opts...)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrAuthorization):
		return nil, fmt.Errorf("NATS at %s: %w", redact(c.URL), err)
	}
	return nil, &Error{"PONIX_NATS_URL", err}
}

// Connect waits until a server answers or ctx is done, and then stays connected
// through any outage.
func (c NATS) Connect(ctx context.Context, name string, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	connected := make(chan struct{}, 1)
	opts = append([]nats.Option{
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.ReconnectBufSize(-1), // nothing is accepted that may be lost
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(*nats.Conn) { connected <- struct{}{} }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("NATS is disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("NATS is connected again", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS", "error", err) }),
	}, opts...)
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	nc, err := nats.Connect(c.URL, opts...)
	if err != nil {
		return nil, &Error{"PONIX_NATS_URL", err}
	}
	if nc.IsConnected() {
		return nc, nil
	}
	remind := time.NewTicker(5 * time.Second)
	defer remind.Stop()
	for {
		log.Warn("waiting for NATS", "url", redact(c.URL))
		select {
		case <-connected:
			return nc, nil
		case <-remind.C:
		case <-ctx.Done():
			nc.Close()
			return nil, fmt.Errorf("NATS at %s did not answer: %w", redact(c.URL), ctx.Err())
		}
	}
}

// redact removes passwords from a list of URLs.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			list[i] = u.Redacted()
		}
	}
	return strings.Join(list, ",")
}

// Postgres is where organizations, devices and gateways live.
type Postgres struct {
	Host         string `name:"postgres-host" default:"${postgres_host=localhost}" help:"PostgreSQL's host."`
	Port         uint16 `name:"postgres-port" default:"5432" help:"PostgreSQL's port."`
	Database     string `name:"postgres-database" default:"ponix" help:"PostgreSQL's database."`
	Username     string `name:"postgres-username" default:"ponix" help:"PostgreSQL's user; the password is PONIX_POSTGRES_PASSWORD or in the file below."`
	PasswordFile string `name:"postgres-password-file" type:"path" help:"File with PostgreSQL's password."`
	SSLMode      string `name:"postgres-sslmode" default:"prefer" enum:"disable,allow,prefer,require,verify-ca,verify-full" help:"TLS to PostgreSQL: ${enum}."`
	Connections  int32  `name:"postgres-connections" default:"8" help:"Connections that one process opens at most."`
}

// Password is PONIX_POSTGRES_PASSWORD, what the file holds, or ponix.
func (c Postgres) Password() (string, error) {
	return secret("POSTGRES_PASSWORD", c.PasswordFile, "ponix")
}

// DSN is the connection URL, password included.
func (c Postgres) DSN() (string, error) {
	password, err := c.Password()
	if err != nil {
		return "", err
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(c.Username, password),
		Host: net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), Path: "/" + c.Database,
		RawQuery: url.Values{"sslmode": {c.SSLMode}, "application_name": {"ponix"}}.Encode(),
	}
	return u.String(), nil
}

// Pool returns a pool that connects when it is first used.
func (c Postgres) Pool(ctx context.Context) (*pgxpool.Pool, error) {
	dsn, err := c.DSN()
	if err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, &Error{"PONIX_POSTGRES_HOST", errors.New("the address cannot be used")} // the cause would show the password
	}
	pc.MaxConns, pc.MinConns = c.Connections, 0
	pc.ConnConfig.ConnectTimeout = 5 * time.Second
	return pgxpool.NewWithConfig(ctx, pc)
}

// ClickHouse is where processed envelopes go.
type ClickHouse struct {
	URL          string        `name:"clickhouse-url" hidden:"" help:"Has no meaning any more: the native protocol is used."`
	NativeURL    string        `name:"clickhouse-native-url" default:"${clickhouse_url=localhost:9000}" help:"ClickHouse servers, host:port, comma separated (native protocol)."`
	Database     string        `name:"clickhouse-database" default:"ponix" help:"ClickHouse's database."`
	Username     string        `name:"clickhouse-username" default:"ponix" help:"ClickHouse's user; the password is PONIX_CLICKHOUSE_PASSWORD or in the file below."`
	PasswordFile string        `name:"clickhouse-password-file" type:"path" help:"File with ClickHouse's password."`
	Cluster      string        `name:"clickhouse-cluster" help:"Name of a ClickHouse cluster on which the tables are replicated."`
	TTL          time.Duration `name:"clickhouse-ttl" help:"How long rows are kept after occurred_at; 0: for ever."`
	Connections  int           `name:"clickhouse-connections" default:"8" help:"Connections that one process opens at most."`
}

// Options are the driver's settings.
func (c ClickHouse) Options() (*clickhouse.Options, error) {
	password, err := secret("CLICKHOUSE_PASSWORD", c.PasswordFile, "ponix")
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, a := range strings.Split(c.NativeURL, ",") {
		a = strings.TrimSpace(a)
		for _, scheme := range []string{"clickhouse://", "tcp://", "native://"} {
			a = strings.TrimPrefix(a, scheme)
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, &Error{"PONIX_CLICKHOUSE_NATIVE_URL", err}
		}
		addrs = append(addrs, a)
	}
	return &clickhouse.Options{
		Addr:         addrs,
		Auth:         clickhouse.Auth{Database: c.Database, Username: c.Username, Password: password},
		DialTimeout:  5 * time.Second,
		ReadTimeout:  time.Minute,
		MaxOpenConns: c.Connections, MaxIdleConns: c.Connections,
		ConnMaxLifetime: time.Hour,
		Settings: clickhouse.Settings{
			// A JSON column is read as text: exact, and it needs no types.
			"output_format_native_write_json_as_string": 1,
		},
	}, nil
}

// Open returns a connection pool that connects when it is first used.
func (c ClickHouse) Open() (driver.Conn, error) {
	o, err := c.Options()
	if err != nil {
		return nil, err
	}
	return clickhouse.Open(o)
}

// GRPC is where the bridge listens.
type GRPC struct {
	Host string `name:"grpc-host" default:"localhost" help:"Address that the bridge listens on."`
	Port int    `name:"grpc-port" default:"50051" help:"Port that the bridge listens on."`
}

// Address is host:port.
func (c GRPC) Address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }
