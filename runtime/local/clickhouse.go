package local

import (
	"context"
	"log/slog"
	"path/filepath"
	"syscall"

	"ponix/runtime/local/internal/chserver"
)

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
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	e, err := launchEngine(ClickHouse, engineClickHouse, o.DataDir, filepath.Join(o.DataDir, "logs", "clickhouse.log"),
		syscall.SIGKILL, // which loses nothing that was acknowledged
		chserver.Config{
			Library: filepath.Join(library, "libchdb.so"), Path: o.clickHouseDir(),
			User: o.ClickHouseUser, Password: o.ClickHousePassword, Database: o.ClickHouseDatabase, Memory: o.ClickHouseMemory,
		}, socket)
	if err != nil {
		return err
	}
	c.click = e
	if err := e.ready(ctx); err != nil {
		return err
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
