// Command ponix is the whole of Ponix in one binary: the local cluster, the
// functions, the gRPC bridge and the tools to look at them.
//
// It exits with 0 after a clean drain, 1 on failure, and 2 on bad usage or
// configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"

	"ponix/runtime/config"
	"ponix/runtime/local"
)

// version is set by the linker.
var version = "0.0.0"

func main() {
	local.EngineMain()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	var c cli
	grammar := any(&c)
	if len(args) > 0 && args[0] == "serve" {
		grammar = &c.serving
	}
	parser, err := kong.New(grammar, kong.Name("ponix"), kong.DefaultEnvars(config.EnvPrefix), config.Paths(), kong.UsageOnError(),
		kong.Description("Ponix takes payloads of IoT devices, turns each into JSON by its device's CEL expression, and keeps the result in ClickHouse.\n\n"+
			"Every flag is also an environment variable: --nats-url is PONIX_NATS_URL. Without any, the commands find the cluster that `ponix up` started on this machine."),
		kong.Vars{"version": version})
	if err != nil {
		return fail(err, 2)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fail(err, 2)
	}
	if err := noPasswords(args); err != nil {
		return fail(err, 2)
	}
	log, err := c.logger(os.Stderr)
	if err != nil {
		return fail(err, 2)
	}
	slog.SetDefault(log)
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	// A second Ctrl-C ends the process at once, but not the copies of the first
	// that just and npx pass on.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	switch command.Selected().Name {
	case "up", "serve", "bridge": // Ctrl-C ends a tee that reads the log, too; they have to drain
		signal.Ignore(syscall.SIGPIPE)
	}
	out := newOutput(os.Stdout)
	if err = command.Run(&env{ctx: ctx, log: log, out: out}); err == nil {
		err = out.failure()
	}
	code := 1
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(*config.Error)), errors.As(err, new(*usageError)):
		code = 2
	}
	if c.LogFormat == "json" { // who reads the log is to read its last line, too
		log.Error("failed", "error", err)
		return code
	}
	return fail(config.Explained(err), code)
}

func fail(err error, code int) int {
	fmt.Fprintln(os.Stderr, "ponix:", err)
	return code
}

// usageError is a mistake on the command line that the parser cannot see.
type usageError struct{ error }

// env is what every command gets.
type env struct {
	ctx context.Context
	log *slog.Logger
	out *output
}

// onNATS runs a command on a connection of its own. Where the server refuses something,
// the command's context ends, and the refusal is its error.
func (e *env) onNATS(c config.NATS, name string, run func(*env, *nats.Conn) error) error {
	nc, err := c.Dial(e.ctx, name)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, refuse := context.WithCancelCause(e.ctx)
	defer refuse(nil)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			refuse(err)
			return
		}
		e.log.Warn("NATS", "error", err)
	})
	err = run(&env{ctx, e.log, e.out}, nc)
	if err != nil && ctx.Err() != nil && e.ctx.Err() == nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		err = fmt.Errorf("NATS at %s: %w", c.Redacted(), err)
	}
	return err
}
