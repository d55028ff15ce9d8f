package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
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
	socketFD         = 3 // the listener
	reportFD         = 4 // gets a line when the engine is ready
	nodeReportFD     = 3 // likewise, of a NATS node, which opens its port itself
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

// runClickHouse serves until SIGTERM or until standard input, which the parent holds, ends.
func runClickHouse() error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGXFSZ) // a limit of the size of files is an error of a write
	var config chserver.Config
	if err := json.NewDecoder(os.Stdin).Decode(&config); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
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
	report := os.NewFile(reportFD, "report")
	_, err = fmt.Fprintln(report, server.Version())
	if err := errors.Join(err, report.Close()); err != nil {
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
