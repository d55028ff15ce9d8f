package config_test

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// write puts a password into a file.
func write(t *testing.T, file, password string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPasswordFileIsReadAgain holds, for each engine, that a new connection takes the password
// that is in the file by then.
func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	t.Run("NATS", natsPasswordChanges)
	for name, ping := range map[string]func(*testing.T, string) func(context.Context) error{
		"PostgreSQL": postgresWith, "ClickHouse": clickHouseWith,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := t.TempDir() + "/password"
			write(t, file, "old")
			ping := ping(t, file)
			if ping(t.Context()) == nil {
				t.Fatal("another password is taken, too")
			}
			write(t, file, "ponix\n")
			runtimetest.Eventually(t, 20*time.Second, func() error { return ping(t.Context()) })
			if err := os.Remove(file); err != nil { // as while another takes its place
				t.Fatal(err)
			}
			if err := ping(t.Context()); err != nil {
				t.Errorf("without the file: %v", err)
			}
		})
	}
}

func postgresWith(t *testing.T, passwordFile string) func(context.Context) error {
	at, err := url.Parse(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(at.Host)
	n, _ := strconv.Atoi(port)
	c := config.Default[config.Postgres]()
	c.Host, c.Port, c.Database, c.PasswordFile = host, uint16(n), strings.TrimPrefix(at.Path, "/"), passwordFile
	pool := open(t, c)
	return func(ctx context.Context) error {
		pool.Reset() // so that it connects
		return pool.Ping(ctx)
	}
}

func clickHouseWith(t *testing.T, passwordFile string) func(context.Context) error {
	at := runtimetest.ClickHouse(t)
	c := config.Default[config.ClickHouse]()
	c.NativeURL, c.Database, c.PasswordFile = at.Addr[0], at.Auth.Database, passwordFile
	db, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db.Ping
}

func natsPasswordChanges(t *testing.T) {
	t.Parallel()
	options := func(password string) *server.Options {
		return &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Users: []*server.User{{Username: "u", Password: password}}}
	}
	srv, err := server.NewServer(options("old"))
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Shutdown)
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS did not get ready")
	}
	file := t.TempDir() + "/password"
	write(t, file, "old")
	nc, err := config.NATS{URL: srv.ClientURL(), Username: "u", PasswordFile: file}.Connect(t.Context(), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if err := srv.ReloadOptions(options("new")); err != nil { // which ends the connections of that user
		t.Fatal(err)
	}
	write(t, file, "new")
	runtimetest.Eventually(t, 30*time.Second, func() error {
		if nc.Stats().Reconnects == 0 {
			return nats.ErrDisconnected
		}
		return nc.FlushTimeout(time.Second)
	})
}
