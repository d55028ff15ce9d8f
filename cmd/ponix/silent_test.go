package main

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestStopBesideSilentPostgres holds that a process which ends does not wait for a connection that
// nobody gives back, as one on which a silent PostgreSQL is asked whether it is there.
func TestStopBesideSilentPostgres(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(at.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	en := engines{Postgres: config.Default[config.Postgres](), ClickHouse: config.Default[config.ClickHouse]()}
	en.Host, en.Port, en.Postgres.Database = at.Hostname(), uint16(port), strings.TrimPrefix(at.Path, "/")
	deps, stop, err := connect(t.Context(), new(nats.Conn), en)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := deps.Postgres.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it waits")
	}
}
