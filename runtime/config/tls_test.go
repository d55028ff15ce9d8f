package config_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// parties are a server's certificate with mutual TLS, and what clients may have.
type parties struct {
	ca, otherCA                    string
	cert, key, otherCert, otherKey string // of clients
	server                         *tls.Config
}

func meet(t *testing.T) parties {
	t.Helper()
	ours, others := runtimetest.NewAuthority(t), runtimetest.NewAuthority(t)
	p := parties{ca: ours.CA, otherCA: others.CA}
	cert, key := ours.Issue(t, "server")
	p.cert, p.key = ours.Issue(t, "client")
	p.otherCert, p.otherKey = others.Issue(t, "stranger")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ours.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	p.server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	return p
}

// terminate listens with TLS in front of a server that has none. hello is called
// on each connection before TLS begins.
func terminate(t *testing.T, c *tls.Config, to string, hello func(net.Conn) error) string {
	t.Helper()
	return runtimetest.Listen(t, func(client net.Conn) {
		if hello(client) != nil {
			return
		}
		secure := tls.Server(client, c)
		if secure.Handshake() != nil {
			return
		}
		plain, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer plain.Close() //nolint:errcheck // whatever was said is said
		go func() {
			io.Copy(plain, secure) //nolint:errcheck // either side may hang up
			plain.Close()          //nolint:errcheck // so that the other direction ends
		}()
		io.Copy(secure, plain) //nolint:errcheck // likewise
	})
}

// identity is what a client may come with.
type identity struct {
	ca, cert, key string
	bad           string // the end of the variable that keeps it out; empty: it gets in
}

func (p parties) identities() map[string]identity {
	return map[string]identity{
		"ours":                    {p.ca, p.cert, p.key, ""},
		"no certificate":          {p.ca, "", "", "CERT"},
		"a stranger's":            {p.ca, p.otherCert, p.otherKey, "CERT"},
		"the server is a strange": {p.otherCA, p.cert, p.key, "CA"},
	}
}

// held holds an error to an identity: it names the variable, which starts with prefix.
func (who identity) held(t *testing.T, what, prefix string, err error) {
	t.Helper()
	if (who.bad == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), ": ours is meant, that of "+prefix+who.bad) && !strings.Contains(err.Error(), ": "+prefix+who.bad+" has the auth") {
		t.Errorf("%s: got %v, want %s%s", what, err, prefix, who.bad)
	}
}

func TestNATSOverTLS(t *testing.T) {
	t.Parallel()
	p := meet(t)
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, TLSConfig: p.server, TLSVerify: true, TLSTimeout: 5})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Shutdown)
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	for name, who := range p.identities() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config.NATS{URL: strings.Replace(srv.ClientURL(), "tls://", "nats://", 1), CA: who.ca, Cert: who.cert, Key: who.key}
			nc, err := c.Dial(t.Context(), "test")
			if err == nil {
				_, err = nc.RTT()
				nc.Close()
			}
			who.held(t, "Dial", "PONIX_NATS_", err)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			nc, err = c.Connect(ctx, "test", slog.New(slog.DiscardHandler))
			if err == nil {
				nc.Close()
			}
			who.held(t, "Connect", "PONIX_NATS_", err)
		})
	}
	plain := runtimetest.NATSServer(t)
	if nc, err := (config.NATS{URL: plain.ClientURL(), CA: p.ca}).Dial(t.Context(), "test"); err == nil {
		nc.Close()
		t.Error("with an authority, nothing may go in the clear")
	}
}

// postgresOverTLS is a PostgreSQL that wants TLS, and a certificate from its clients.
func (p parties) postgresOverTLS(t *testing.T) config.Postgres {
	t.Helper()
	at, err := url.Parse(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	// PostgreSQL's protocol, 55.2.10: the client asks for TLS by 8 bytes, and the
	// server says yes by one.
	addr := terminate(t, p.server, at.Host, func(c net.Conn) error {
		_, err := io.ReadFull(c, make([]byte, 8))
		if err == nil {
			_, err = c.Write([]byte{'S'})
		}
		return err
	})
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	c := config.Default[config.Postgres]()
	c.Host, c.Port, c.Database, c.SSLMode = host, uint16(n), strings.TrimPrefix(at.Path, "/"), "verify-full"
	return c
}

func TestPostgresOverTLS(t *testing.T) {
	t.Parallel()
	p := meet(t)
	at := p.postgresOverTLS(t)
	for name, who := range p.identities() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := at
			c.RootCert, c.Cert, c.Key = who.ca, who.cert, who.key
			pool, err := c.Pool(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			who.bad = strings.Replace(who.bad, "CA", "ROOTCERT", 1)
			who.held(t, "Ping", "PONIX_POSTGRES_SSL", config.Explained(pool.Ping(t.Context())))
		})
	}
}

// TestPostgresCertificateIsRenewed has a certificate that PostgreSQL does not take replaced by
// one that it takes.
func TestPostgresCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	p := meet(t)
	c := p.postgresOverTLS(t)
	dir := t.TempDir()
	c.RootCert, c.Cert, c.Key = p.ca, dir+"/cert", dir+"/key"
	put := func(cert, key string, written time.Time) {
		for from, to := range map[string]string{cert: c.Cert, key: c.Key} {
			text, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, text, 0o600)
			}
			if err == nil {
				err = os.Chtimes(to, written, written)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put(p.otherCert, p.otherKey, time.Now().Add(-time.Hour))
	pool, err := c.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); err == nil {
		t.Fatal("a stranger gets in")
	}
	put(p.cert, p.key, time.Now())
	runtimetest.Eventually(t, 20*time.Second, func() error { return pool.Ping(t.Context()) })
}

// TestAuthoritiesAreReadAgain holds, for the engines, that a new connection knows the
// authorities that are in the file by then.
func TestAuthoritiesAreReadAgain(t *testing.T) {
	t.Parallel()
	p := meet(t)
	file := t.TempDir() + "/ca"
	put := func(ca string) {
		text, err := os.ReadFile(ca)
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(p.otherCA)
	pg := p.postgresOverTLS(t)
	pg.RootCert, pg.Cert, pg.Key = file, p.cert, p.key
	pool, err := pg.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	at := runtimetest.ClickHouse(t)
	ch := config.Default[config.ClickHouse]()
	ch.NativeURL, ch.Database = terminate(t, p.server, at.Addr[0], func(net.Conn) error { return nil }), at.Auth.Database
	ch.TLS, ch.CA, ch.Cert, ch.Key = "on", file, p.cert, p.key
	db, err := ch.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // only asked
	if pool.Ping(t.Context()) == nil || db.Ping(t.Context()) == nil {
		t.Fatal("a stranger is believed")
	}
	put(p.ca)
	for _, ping := range []func(context.Context) error{pool.Ping, db.Ping} {
		runtimetest.Eventually(t, 20*time.Second, func() error { return ping(t.Context()) })
	}
}

func TestClickHouseOverTLS(t *testing.T) {
	t.Parallel()
	p := meet(t)
	at := runtimetest.ClickHouse(t)
	addr := terminate(t, p.server, at.Addr[0], func(net.Conn) error { return nil })
	for name, who := range p.identities() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config.Default[config.ClickHouse]()
			c.NativeURL, c.Database, c.TLS, c.CA, c.Cert, c.Key = addr, at.Auth.Database, "on", who.ca, who.cert, who.key
			db, err := c.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close() //nolint:errcheck // only asked
			who.held(t, "Ping", "PONIX_CLICKHOUSE_", config.Explained(db.Ping(t.Context())))
		})
	}
}

// TestClickHouseWithoutTLS holds what is said of a server that hangs up on whoever begins with
// TLS, and on whoever begins without.
func TestClickHouseWithoutTLS(t *testing.T) {
	t.Parallel()
	for tls, want := range map[string]string{"on": "(PONIX_CLICKHOUSE_TLS,", "off": "PONIX_CLICKHOUSE_TLS is off"} {
		c := config.Default[config.ClickHouse]()
		c.NativeURL, c.TLS = runtimetest.HangsUp(t), tls
		db, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // only asked
		if err := db.Ping(t.Context()); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", tls, err)
		}
	}
}

// TestService holds that a service of PostgreSQL's clients which cannot be read is named.
func TestService(t *testing.T) {
	t.Setenv("PGSERVICE", "none")
	t.Setenv("PGSERVICEFILE", t.TempDir()+"/none")
	_, err := config.Default[config.Postgres]().DSN()
	if err == nil || !strings.Contains(err.Error(), "PGSERVICE: ") {
		t.Errorf("got %v", err)
	}
}

// TestWaitingSaysWhy holds that the log and the error have what keeps NATS away.
func TestWaitingSaysWhy(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var log strings.Builder
	_, err := config.NATS{URL: "nats://127.0.0.1:1"}.Connect(ctx, "test", slog.New(slog.NewTextHandler(&log, nil)))
	if want := "NATS at nats://127.0.0.1:1 did not answer: dial tcp 127.0.0.1:1: connect: connection refused"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if n := strings.Count(log.String(), "connection refused"); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log is\n%s", &log)
	}
}

// A variable that is set to nothing does not hide the file that is named.
func TestSecretOfFile(t *testing.T) {
	t.Setenv("PONIX_POSTGRES_PASSWORD", "")
	t.Setenv("PONIX_AUTH_SECRET", "")
	file := t.TempDir() + "/secret"
	if err := os.WriteFile(file, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := (config.Postgres{PasswordFile: file}).Password(); err != nil || got != "of the file" {
		t.Errorf("the password is %q, %v", got, err)
	}
	if got, err := (config.Auth{SecretFile: file}).Secret(); err != nil || string(got) != "of the file" {
		t.Errorf("the secret is %q, %v", got, err)
	}
	if got, err := (config.Postgres{}).Password(); err != nil || got != "" {
		t.Errorf("without a file the password is %q, %v", got, err)
	}
	if got, err := (config.Auth{}).Secret(); err == nil {
		t.Errorf("without a file the secret is %q", got)
	}
}

// Each setting that cannot be used is named.
func TestWhatCannotBeUsedIsNamed(t *testing.T) {
	t.Parallel()
	a := runtimetest.NewAuthority(t)
	cert, key := a.Issue(t, "x")
	_, otherKey := a.Issue(t, "y")
	none := t.TempDir() + "/none"
	nats := func(c config.NATS) error { _, err := c.Dial(t.Context(), "test"); return err }
	grpc := func(c config.GRPC) error { _, err := c.TLS(); return err }
	click := func(c config.ClickHouse) error { c.NativeURL = "h:1"; _, err := c.Options(); return err }
	postgres := func(c config.Postgres) error {
		c.Host, c.Port, c.SSLMode, c.Connections = "h", 1, cmp.Or(c.SSLMode, "verify-full"), 1
		_, err := c.Pool(t.Context())
		return err
	}
	on := func(c config.Auth) error { _, err := c.On(); return err }
	for name, tt := range map[string]struct {
		err      error
		variable string
	}{
		"NATS, no key":                {nats(config.NATS{URL: "nats://127.0.0.1:1", Cert: cert}), "PONIX_NATS_CERT"},
		"NATS, no URL":                {nats(config.NATS{URL: "nats://127.0.0.1:x"}), "PONIX_NATS_URL"},
		"NATS, nothing":               {nats(config.NATS{URL: " , "}), "PONIX_NATS_URL"},
		"NATS, a port beyond all":     {nats(config.NATS{URL: "nats://127.0.0.1:1,127.0.0.1:99999"}), "PONIX_NATS_URL"},
		"NATS, no port":               {nats(config.NATS{URL: "nats://127.0.0.1:0"}), "PONIX_NATS_URL"},
		"NATS, IPv6 without brackets": {nats(config.NATS{URL: "::1"}), "PONIX_NATS_URL"},
		"NATS, no authority":          {nats(config.NATS{URL: "nats://127.0.0.1:1", CA: none}), "PONIX_NATS_CA"},
		"NATS, no certificate":        {nats(config.NATS{URL: "nats://127.0.0.1:1", Cert: none, Key: key}), "PONIX_NATS_CERT"},
		"NATS, another key":           {nats(config.NATS{URL: "nats://127.0.0.1:1", Cert: cert, Key: otherKey}), "PONIX_NATS_CERT"},
		"NATS, no credentials":        {nats(config.NATS{URL: "nats://127.0.0.1:1", Creds: none}), "PONIX_NATS_CREDS"},
		"NATS, no password file":      {nats(config.NATS{URL: "nats://127.0.0.1:1", Username: "u", PasswordFile: none}), "PONIX_NATS_PASSWORD_FILE"},
		"NATS, no user":               {nats(config.NATS{URL: "nats://127.0.0.1:1", PasswordFile: cert}), "PONIX_NATS_USERNAME"},
		"NATS, a bad inbox":           {nats(config.NATS{URL: "nats://127.0.0.1:1", InboxPrefix: "a.>"}), "PONIX_NATS_INBOX_PREFIX"},
		"NATS, a user with a space":   {nats(config.NATS{URL: "nats://127.0.0.1:1", Username: "a b"}), "PONIX_NATS_INBOX_PREFIX"},
		"gRPC, no key":                {grpc(config.GRPC{TLSCert: cert}), "PONIX_GRPC_TLS_KEY"},
		"gRPC, clients only":          {grpc(config.GRPC{TLSClientCA: a.CA}), "PONIX_GRPC_TLS_CERT"},
		"gRPC, another key":           {grpc(config.GRPC{TLSCert: cert, TLSKey: otherKey}), "PONIX_GRPC_TLS_CERT"},
		"gRPC, no authority":          {grpc(config.GRPC{TLSCert: cert, TLSKey: key, TLSClientCA: key}), "PONIX_GRPC_TLS_CLIENT_CA"},
		"ClickHouse, off":             {click(config.ClickHouse{TLS: "off", CA: a.CA}), "PONIX_CLICKHOUSE_TLS"},
		"ClickHouse, no authority":    {click(config.ClickHouse{TLS: "on", CA: none}), "PONIX_CLICKHOUSE_CA"},
		"ClickHouse, no key":          {click(config.ClickHouse{TLS: "on", Cert: cert}), "PONIX_CLICKHOUSE_CERT"},
		"ClickHouse, a path":          {func() error { _, err := (config.ClickHouse{NativeURL: "tcp://h:9000/ponix"}).Options(); return err }(), "PONIX_CLICKHOUSE_NATIVE_URL"},
		"ClickHouse, a named port":    {func() error { _, err := (config.ClickHouse{NativeURL: "h:nowhere"}).Options(); return err }(), "PONIX_CLICKHOUSE_NATIVE_URL"},
		"PostgreSQL, a comma":         {func() error { _, err := (config.Postgres{Host: "h,", Port: 1}).DSN(); return err }(), "PONIX_POSTGRES_HOST"},
		"PostgreSQL, a URL":           {func() error { _, err := (config.Postgres{Host: "postgres://u:p@h/db", Port: 1}).DSN(); return err }(), "PONIX_POSTGRES_HOST"},
		"PostgreSQL, a named port":    {func() error { _, err := (config.Postgres{Host: "h:nowhere", Port: 1}).DSN(); return err }(), "PONIX_POSTGRES_HOST"},
		"PostgreSQL, no authority":    {postgres(config.Postgres{RootCert: none}), "PONIX_POSTGRES_SSLROOTCERT"},
		"PostgreSQL, any server":      {postgres(config.Postgres{SSLMode: "prefer", RootCert: a.CA}), "PONIX_POSTGRES_SSLMODE"},
		"PostgreSQL, no key":          {postgres(config.Postgres{Cert: cert}), "PONIX_POSTGRES_SSLCERT"},
		"PostgreSQL, another key":     {postgres(config.Postgres{Cert: cert, Key: otherKey}), "PONIX_POSTGRES_SSLCERT"},
		"authentication by nothing":   {on(config.Auth{Issuer: "https://id"}), "PONIX_AUTH_JWKS"},
		"authentication, no file":     {on(config.Auth{SecretFile: none}), "PONIX_AUTH_SECRET_FILE"},
		"authentication, empty file":  {on(config.Auth{SecretFile: os.DevNull}), "PONIX_AUTH_SECRET"},
	} {
		var bad *config.Error
		if !errors.As(tt.err, &bad) || bad.Variable != tt.variable || strings.Contains(tt.err.Error(), "open :") {
			t.Errorf("%s: got %v, want %s", name, tt.err, tt.variable)
		}
	}
}
