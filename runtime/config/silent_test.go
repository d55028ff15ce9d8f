package config_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestSilentConnectionsToPostgres holds that a call succeeds where all connections that there are
// say nothing any more, and PostgreSQL takes new ones.
func TestSilentConnectionsToPostgres(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	link := runtimetest.NewLink(t, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))))
	c.Host = link.Addr
	pool, err := c.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	defer link.Close() // or the pool would wait for what is silent
	var conns []*pgxpool.Conn
	for range 2 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Release()
	}
	link.Silence()
	time.Sleep(1100 * time.Millisecond) // the pool asks a connection that was idle for a second
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var one int
	if err := pool.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		t.Error(err)
	}
}

// postgres is a database for the test.
func postgres(t *testing.T) config.Postgres {
	t.Helper()
	at, err := url.Parse(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(at.Port())
	c := config.Default[config.Postgres]()
	c.Host, c.Port, c.Database = at.Hostname(), uint16(port), strings.TrimPrefix(at.Path, "/")
	return c
}

// TestSilentServerOfPostgres holds that of two servers the second is used where the first takes
// connections and says nothing, soon enough for a call, and that each has a port.
func TestSilentServerOfPostgres(t *testing.T) {
	t.Parallel()
	silent := runtimetest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }) //nolint:errcheck // until the client gives up
	c := postgres(t)
	c.Host = silent + ", " + c.Host
	pool, err := c.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// TestSilentServerOfClickHouse holds that of two servers the second is used where the first takes
// connections and says nothing.
func TestSilentServerOfClickHouse(t *testing.T) {
	t.Parallel()
	silent := runtimetest.Listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }) //nolint:errcheck // until the client gives up
	there := runtimetest.ClickHouse(t)
	c := config.Default[config.ClickHouse]()
	c.NativeURL, c.Database = silent+","+there.Addr[0], there.Auth.Database
	db, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the test is over
	if err := db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
