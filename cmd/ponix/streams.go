package main

import (
	"cmp"
	"context"
	"fmt"

	"ponix/functions"
	"ponix/runtime"
	"ponix/runtime/config"
)

type streamsCommand struct {
	config.NATS
	functions.Config
}

func (c *streamsCommand) Run(e *env) error {
	nc, err := c.Dial("ponix streams")
	if err != nil {
		return err
	}
	defer nc.Close()
	fns, _, err := assemble(functions.Deps{NATS: nc}, c.Config, nil)
	if err != nil {
		return err
	}
	ctx, cancel := untilRefused(e.ctx, nc)
	defer cancel()
	if err := runtime.Prepare(ctx, runtime.Config{Conn: nc, Streams: c.Streams, Timeout: c.Streams.AckWait / 2, Logger: e.log}, fns...); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	fmt.Fprintln(e.out, "the streams are up to date")
	return nil
}
