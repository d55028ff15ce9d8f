package local

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresStop is PostgreSQL's fast shutdown and then its immediate one, which recovers at the
// next start (documentation, "Shutting Down the Server").
var postgresStop = escalation{{syscall.SIGINT, 15 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}}

// portAttempts is how often a free port is chosen again when another process was faster.
const portAttempts = 5

type postgresProcess struct{ *process }

func (p postgresProcess) stop(ctx context.Context) error { return p.end(ctx, postgresStop) }

// postgresServer is what it takes to start one.
type postgresServer struct {
	options  Options
	binaries string // directory
	data     string
	account  account
}

func (c *Cluster) startPostgres(ctx context.Context, binaries string) error {
	o := c.options
	s := &postgresServer{
		options: o, binaries: binaries,
		data: filepath.Join(o.DataDir, "postgres"), account: serverAccount(),
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		port, err := freePort(o.Host, o.PostgresPort, "--postgres-port", "--postgres-host")
		if err != nil {
			return err
		}
		p, err := s.start(port)
		if err != nil {
			return err
		}
		c.postgres, c.PostgresHost, c.PostgresPort = postgresProcess{p}, o.Host, port
		err = c.awaitPostgres(ctx, p)
		if err == nil {
			go p.report(c.failed)
			return c.createDatabase(ctx)
		}
		taken := strings.Contains(err.Error(), "could not bind")
		if !taken || o.PostgresPort != 0 || attempt == portAttempts {
			return err
		}
	}
}

// start launches the server. When this process dies, it gets PostgreSQL's signal for an immediate
// shutdown, which takes its own children with it.
func (s *postgresServer) start(port int) (*process, error) {
	o := s.options
	settings := []string{
		"listen_addresses=" + o.Host, "port=" + strconv.Itoa(port), "unix_socket_directories=",
		"wal_level=logical", "max_replication_slots=32", "max_wal_senders=32", "max_connections=100",
		"shared_buffers=64MB", "max_wal_size=512MB", "logging_collector=off", "log_timezone=UTC", "timezone=UTC",
	}
	if o.Ephemeral {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	args := []string{"-D", s.data}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return s.launch("postgres", syscall.SIGQUIT, args...)
}

// launch runs one of the programs as the server's account.
func (s *postgresServer) launch(program string, onDeath syscall.Signal, args ...string) (*process, error) {
	log := filepath.Join(s.options.DataDir, "logs", "postgres.log")
	return s.account.run(func(attr *syscall.SysProcAttr) (*process, error) {
		cmd := exec.Command(filepath.Join(s.binaries, program), args...)
		cmd.Env = append(environment(), "LC_ALL=C", "TZ=UTC")
		cmd.Dir = "/"
		cmd.SysProcAttr = attr
		return launch(Postgres+"'s "+program, log, cmd)
	}, onDeath)
}

// awaitPostgres returns when the server takes connections.
func (c *Cluster) awaitPostgres(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.PostgresURL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if refusal := (*pgconn.PgError)(nil); errors.As(err, &refusal) && refusal.Code == "28P01" {
			return fmt.Errorf("user %q is refused: %s was created with another user or password", c.options.User, c.options.DataDir)
		}
		select {
		case <-p.exited:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w; %w", ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// createDatabase makes Options.Database if there is none.
func (c *Cluster) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.PostgresURL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{c.options.Database}.Sanitize())
	if exists := (*pgconn.PgError)(nil); errors.As(err, &exists) && (exists.Code == "42P04" || exists.Code == "25006") {
		return nil // a standby, which takes no writes, has its primary's
	}
	return err
}
