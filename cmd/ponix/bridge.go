package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"ponix/bridge"
	"ponix/runtime/config"
)

type bridgeCommand struct {
	config.NATS
	config.GRPC
	GRPCMaxMessage int `name:"grpc-max-message" default:"8388608" help:"Bytes of a request or a reply at most."`
}

func (c *bridgeCommand) Run(e *env) error {
	ln, err := listen(c.Address(), "--grpc-port")
	if err != nil {
		return err
	}
	defer ln.Close() //nolint:errcheck // the server closes it first
	nc, err := c.Connect(e.ctx, "ponix bridge", e.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	s, err := bridge.Start(ln, bridge.Config{Conn: nc, MaxMessage: c.GRPCMaxMessage, Logger: e.log})
	if err != nil {
		return err
	}
	e.log.Info("serving gRPC", "address", s.Addr().String())
	select {
	case err = <-s.Failed():
	case <-e.ctx.Done():
		e.log.Info("draining")
		s.Stop()
	}
	return err
}

// listen opens a TCP port; flag is what chooses another.
func listen(addr, flag string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: choose another port with %s", addr, flag)
	}
	return ln, err
}
