package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"ponix/runtime/local/internal/chserver"
	"ponix/runtime/local/internal/flock"
)

// How a process is told that it is to be an engine.
const (
	engineVariable   = "PONIX_ENGINE"
	engineClickHouse = "clickhouse"
	engineNATS       = "nats"
	reportFD         = 3 // gets a line when the engine is ready
	socketFD         = 4 // ClickHouse's listener
)

// EngineMain is the whole program if this process was started to be an engine: it then does not
// return. main and TestMain call it before anything else.
func EngineMain() {
	name := os.Getenv(engineVariable)
	if name == "" {
		return
	}
	run, ok := map[string]func() error{engineClickHouse: runClickHouse, engineNATS: runNATS}[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: no engine is called %q\n", engineVariable, name)
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// engineProcess is a child that runs EngineMain. Its standard input stays open as long as this
// process lives.
type engineProcess struct {
	*process
	alive    io.Closer
	reported chan error // once: nil when the engine is ready
}

// launchEngine starts this program again, as an engine. The child gets its configuration as JSON,
// and files from socketFD on.
func launchEngine(name, engine, dir, log string, onDeath syscall.Signal, config any, files ...*os.File) (*engineProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Args[0] = "ponix: " + name // as ps shows it
	cmd.Env = append(environment(), engineVariable+"="+engine)
	cmd.Dir = dir
	cmd.ExtraFiles = append([]*os.File{report}, files...)
	cmd.SysProcAttr = tied(onDeath)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, ready.Close(), report.Close())
	}
	p, err := launch(name, log, cmd)
	_ = report.Close() // the child has its own
	if err != nil {
		return nil, errors.Join(err, ready.Close())
	}
	e := &engineProcess{p, stdin, make(chan error, 1)}
	go func() {
		_, err := bufio.NewReader(ready).ReadString('\n')
		_ = ready.Close()
		e.reported <- err
	}()
	if err := json.NewEncoder(stdin).Encode(config); err != nil {
		p.kill()
		return nil, fmt.Errorf("%w; %w", err, p.failure())
	}
	return e, nil
}

// ready returns when the engine is.
func (e *engineProcess) ready(ctx context.Context) error {
	select {
	case err := <-e.reported:
		if err != nil { // the pipe's end without a word
			<-e.exited
			return e.failure()
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop lets statements in flight end, and JetStream write what it has.
func (e *engineProcess) stop(ctx context.Context) error {
	defer func() { _ = e.alive.Close() }()
	return e.end(ctx, escalation{{syscall.SIGTERM, 15 * time.Second}})
}

// fromParent reads an engine's configuration. The context ends with SIGTERM, and with standard
// input, which the parent holds.
func fromParent(config any) (ctx context.Context, stop func(), err error) {
	ctx, stop = signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	if err := json.NewDecoder(os.Stdin).Decode(config); err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return ctx, stop, nil
}

// reportReady tells the parent that the engine is ready.
func reportReady() error {
	report := os.NewFile(reportFD, "report")
	_, err := fmt.Fprintln(report, "ready")
	return errors.Join(err, report.Close())
}

// runClickHouse is the engine's process. It serves until its context ends.
func runClickHouse() error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	signal.Ignore(syscall.SIGXFSZ) // a limit of the size of files is an error of a write
	var config chserver.Config
	ctx, stop, err := fromParent(&config)
	if err != nil {
		return err
	}
	defer stop()
	lock, err := lockEngine(ctx, config.Path, log)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	socket := os.NewFile(socketFD, "listener")
	listener, err := net.FileListener(socket)
	if err := errors.Join(err, socket.Close()); err != nil {
		return err
	}
	began := time.Now()
	server, err := chserver.Open(config, log)
	if err != nil {
		return err
	}
	log.Info("ready", "address", listener.Addr(), "version", server.Version(), "took", time.Since(began))
	if err := reportReady(); err != nil {
		return err
	}
	err = server.Serve(ctx, listener)
	log.Info("stopped", "error", err)
	return err
}

// lockEngine waits for an engine that a killed parent has left dying.
func lockEngine(ctx context.Context, path string, log *slog.Logger) (*flock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, err
	}
	return flock.Wait(ctx, filepath.Join(path, "ponix.lock"), func() { log.Info("waiting for the engine that has the data directory") })
}
