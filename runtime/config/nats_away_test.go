package config_test

import (
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestAwaySaysWhy restarts a server as one that a connection cannot come back to, because it has
// another authority's certificate, or wants one of the client: the log says so.
func TestAwaySaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*server.Options, parties)
		want   string
	}{
		"a server's certificate": {func(o *server.Options, p parties) {
			o.TLSConfig = meet(t).server
		}, "certificate signed by unknown authority"},
		"a client's certificate": {func(o *server.Options, p parties) { // refused after the client's part of the handshake
			o.TLSConfig = p.server
		}, "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := meet(t)
			open := p.server.Clone()
			open.ClientAuth = 0
			o := &server.Options{TLSConfig: open, TLSTimeout: 5}
			srv := runtimetest.NATSServer(t, as(o))
			at, err := url.Parse(srv.ClientURL())
			if err != nil {
				t.Fatal(err)
			}
			var log runtimetest.Text
			nc, err := config.NATS{URL: srv.ClientURL(), CA: p.ca}.Connect(t.Context(), "test", slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			srv.Shutdown()
			srv.WaitForShutdown()
			if o.Port, err = strconv.Atoi(at.Port()); err != nil {
				t.Fatal(err)
			}
			c.change(o, p)
			runtimetest.NATSServer(t, as(o))
			runtimetest.Eventually(t, 30*time.Second, func() error {
				if !strings.Contains(log.String(), "waiting for NATS") || !strings.Contains(log.String(), c.want) {
					return errors.New(log.String())
				}
				return nil
			})
		})
	}
}

// as is how a server has TLS as in o, and its port.
func as(o *server.Options) func(*server.Options) {
	return func(to *server.Options) {
		to.TLSConfig, to.TLSTimeout, to.TLSVerify = o.TLSConfig, o.TLSTimeout, o.TLSConfig.ClientAuth != 0
		if o.Port != 0 {
			to.Port = o.Port
		}
	}
}
