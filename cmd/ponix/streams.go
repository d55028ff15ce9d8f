package main

import (
	"fmt"

	"ponix/functions"
	"ponix/runtime"
	"ponix/runtime/config"

	"github.com/nats-io/nats.go"
)

type streamsCommand struct {
	config.NATS
	functions.Config
}

func (c *streamsCommand) Run(e *env) error {
	if err := validateStreams(c.Streams); err != nil {
		return err
	}
	return e.onNATS(c.NATS, "ponix streams", c.run)
}

func (c *streamsCommand) run(e *env, nc *nats.Conn) error {
	fns, _, err := assemble(functions.Deps{NATS: nc}, c.Config, nil)
	if err != nil {
		return err
	}
	if err := runtime.Prepare(e.ctx, runtime.Config{Conn: nc, Streams: c.Streams, Timeout: c.Streams.AckWait / 2, Logger: e.log}, fns...); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "the streams are up to date")
	return nil
}
