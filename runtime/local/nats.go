package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ponix/nats/streams"
)

// natsEngine is the server in this process.
type natsEngine struct {
	server  *server.Server
	log     *natsLog
	started chan struct{} // closed when its start is over
}

// natsOptions are those of every server, in this process or another.
func natsOptions(name, host string, port int, store string, sync time.Duration) *server.Options {
	return &server.Options{
		ServerName: name, Host: host, Port: port, NoSigs: true, MaxPayload: streams.MaxPayload,
		JetStream: true, StoreDir: store, SyncInterval: sync,
		NoSublistCache: true, // nats/conf says why
	}
}

// The folders below Options.DataDir of one server, and of those that replicate.
const (
	natsFolder    = "nats"
	clusterFolder = "nats-cluster"
)

// sameNodes is an error where the data is that of one server and there are to be many, or
// the other way round: what is on its streams would not be seen.
func (o Options) sameNodes() error {
	other, was := clusterFolder, "several nodes"
	if o.NATSNodes > 1 {
		other, was = natsFolder, "one node"
	}
	dir := filepath.Join(o.DataDir, other)
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s has the streams of NATS with %s, which would not be read: start with as many as before, or with another --data-dir", dir, was)
	}
	return nil
}

func (c *Cluster) startNATS(ctx context.Context) error {
	o := c.options
	if err := o.sameNodes(); err != nil {
		return err
	}
	if o.NATSNodes > 1 {
		return c.startNATSCluster(ctx)
	}
	if _, err := freePort(o.Host, o.NATSPort, "--nats-port", "--nats-url"); err != nil {
		return err
	}
	port := o.NATSPort
	if port == 0 {
		port = server.RANDOM_PORT
	}
	so := natsOptions("ponix", o.Host, port, filepath.Join(o.DataDir, natsFolder), o.JetStreamSync)
	so.JetStreamMaxStore = o.JetStreamMaxStore
	srv, err := server.NewServer(so)
	if err != nil {
		return err
	}
	log := &natsLog{log: o.Logger.With("part", NATS), fatal: make(chan error, 1)}
	srv.SetLoggerV2(log, false, false, false)
	e := &natsEngine{srv, log, make(chan struct{})}
	c.nats = e
	go func() {
		srv.Start()
		close(e.started)
	}()
	select {
	case <-e.started: // the store is recovered
	case err := <-log.fatal:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	if !srv.ReadyForConnections(10*time.Second) || !srv.JetStreamEnabled() {
		return log.notReady()
	}
	c.NATSServer, c.NATSURL = srv, "nats://"+net.JoinHostPort(o.Host, strconv.Itoa(srv.Addr().(*net.TCPAddr).Port))
	go func() {
		srv.WaitForShutdown()
		if !log.stopping.Load() {
			c.failed <- fmt.Errorf("%s ended on its own; its messages are in the log of this process", NATS)
		}
	}()
	return nil
}

// stop waits for the start first: a server that is told to stop before it has started
// starts nevertheless, and makes files. Recovering a large store is not waited for.
func (e *natsEngine) stop(ctx context.Context) error {
	e.log.stopping.Store(true)
	select {
	case <-e.started:
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return nil
}

// natsLog passes the server's messages on. The chatty ones become debug messages, and so
// do the warnings of a server that is told to stop while it recovers its store.
type natsLog struct {
	log      *slog.Logger
	fatal    chan error
	stopping atomic.Bool
}

// notReady is why a server did not get ready.
func (l *natsLog) notReady() error {
	select {
	case err := <-l.fatal:
		return err
	default:
		return errors.New("the server did not get ready")
	}
}

func (l *natsLog) Noticef(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l *natsLog) Debugf(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l *natsLog) Tracef(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l *natsLog) Errorf(format string, args ...any)  { l.log.Error(fmt.Sprintf(format, args...)) }

func (l *natsLog) Warnf(format string, args ...any) {
	if l.stopping.Load() {
		l.Debugf(format, args...)
		return
	}
	l.log.Warn(fmt.Sprintf(format, args...))
}

// Fatalf comes before the server gives up; it does not end the process.
func (l *natsLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.log.Error(err.Error())
	select {
	case l.fatal <- err:
	default:
	}
}
