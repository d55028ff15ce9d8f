package local

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ponix/runtime/local/internal/chserver"
)

// clickHouseStop lets statements in flight end.
var clickHouseStop = escalation{{syscall.SIGTERM, 15 * time.Second}}

// clickHouseProcess is the child that runs EngineMain. Its standard input stays open as long as
// this process lives.
type clickHouseProcess struct {
	*process
	alive io.Closer
}

func (c *Cluster) startClickHouse(ctx context.Context, library string) error {
	o := c.options
	if err := awaitEngine(ctx, o.clickHouseDir(), o.Logger); err != nil {
		return err
	}
	listener, err := listen(o.Host, o.ClickHousePort, "--clickhouse-port", "--clickhouse-native-url")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the child has its own copy
	ready, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	e, err := c.launchEngine(library, listener, report)
	_ = report.Close()
	if err != nil {
		return err
	}
	c.click = e
	said := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(ready).ReadString('\n')
		said <- err
	}()
	select {
	case err := <-said:
		if err != nil { // the pipe's end without a word
			<-e.exited
			return e.failure()
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	c.ClickHouseAddr = listener.Addr().String()
	go e.report(c.failed)
	return nil
}

func (o Options) clickHouseDir() string { return filepath.Join(o.DataDir, "clickhouse") }

// awaitEngine returns when no engine has the data: one may still be dying with a killed parent,
// and hold its port.
func awaitEngine(ctx context.Context, dir string, log *slog.Logger) error {
	lock, err := lockEngine(ctx, dir, log)
	if err != nil {
		return err
	}
	return lock.Release()
}

// filer is a listener that can be handed to a child.
type filer interface{ File() (*os.File, error) }

func (c *Cluster) launchEngine(library string, listener filer, report *os.File) (*clickHouseProcess, error) {
	o := c.options
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	socket, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = socket.Close() }()
	cmd := exec.Command(self)
	cmd.Args[0] = "ponix: ClickHouse" // as ps shows it
	cmd.Env = append(environment(), engineVariable+"="+engineClickHouse)
	cmd.Dir = o.DataDir
	cmd.ExtraFiles = []*os.File{socket, report} // socketFD, reportFD
	cmd.SysProcAttr = tied(syscall.SIGKILL)     // which loses nothing that was acknowledged
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p, err := launch(ClickHouse, filepath.Join(o.DataDir, "logs", "clickhouse.log"), cmd)
	if err != nil {
		return nil, err
	}
	e := &clickHouseProcess{p, stdin}
	config := chserver.Config{
		Library: filepath.Join(library, "libchdb.so"), Path: o.clickHouseDir(),
		User: o.ClickHouseUser, Password: o.ClickHousePassword, Database: o.ClickHouseDatabase, Memory: o.ClickHouseMemory,
	}
	if err := json.NewEncoder(stdin).Encode(config); err != nil {
		p.kill()
		return nil, fmt.Errorf("%w; %w", err, p.failure())
	}
	return e, nil
}

func (e *clickHouseProcess) stop(ctx context.Context) error {
	defer func() { _ = e.alive.Close() }()
	return e.end(ctx, clickHouseStop)
}
