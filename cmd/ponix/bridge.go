package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"syscall"

	"ponix/bridge"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/heap"
)

type bridgeCommand struct {
	config.NATS
	door
	MetricsAddr string `help:"Address on which to serve the process's /metrics for Prometheus, and /healthz; empty: nowhere."`
}

func (c *bridgeCommand) Run(e *env) error {
	if err := cmp.Or(c.validate(), firstBad(canListen("PONIX_METRICS_ADDR", c.MetricsAddr))); err != nil {
		return err
	}
	conf, ln, exposed, err := c.open(e)
	if err != nil {
		return err
	}
	defer ln.Close() //nolint:errcheck // the server closes it first
	ready, stopMetrics, err := serveMetrics(e, c.MetricsAddr)
	if err != nil {
		return err
	}
	defer stopMetrics()
	nc, err := c.Connect(e.ctx, "ponix bridge", e.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	conf.Conn = nc
	heap.Bridge()
	s, err := bridge.Start(ln, conf)
	if err != nil {
		return err
	}
	ready(nc, runtime.ProcessMetrics())
	if exposed {
		e.log.Warn("authentication is off, and the bridge does not listen on this machine alone: whoever reaches it reads and changes everything; set PONIX_AUTH_JWKS or PONIX_AUTH_SECRET", "address", s.Addr().String())
	}
	e.log.Info("serving gRPC", "address", s.Addr().String(), "tls", conf.TLS != nil, "authentication", conf.Tokens != nil)
	select {
	case err = <-s.Failed():
	case <-e.ctx.Done():
		e.log.Info("draining")
		s.Stop()
	}
	return err
}

// listen opens a TCP port; host and port are the flags that choose another.
func listen(addr, host, port string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use: choose another port with %s", addr, port)
	case err != nil:
		return nil, fmt.Errorf("%w: choose another address with %s", err, host)
	}
	return ln, nil
}
