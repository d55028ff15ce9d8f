package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	cdcv1 "ponix/proto/ponix/cdc/v1"
	"ponix/runtime/config"
	"ponix/runtime/wire"
)

type cdcCommand struct {
	Status cdcStatus `cmd:"" default:"withargs" help:"Show who reads the replication slot, and how far it is."`
}

type cdcStatus struct {
	config.NATS
	format
}

func (c *cdcStatus) Run(e *env) error {
	return e.onNATS(c.NATS, "ponix cdc", c.run)
}

func (c *cdcStatus) run(e *env, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
	defer cancel()
	s, err := cdcv1.NewCdcServiceClient(wire.NewClient(nc)).GetCdcStatus(ctx, &cdcv1.GetCdcStatusRequest{})
	if err != nil {
		return plainStatus(err)
	}
	if c.Format == "json" {
		data, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.out, "%s\n", data)
		return err
	}
	e.out.pairs(
		"active", strconv.FormatBool(s.Active), "owner", s.Owner, "slot", s.SlotName,
		"confirmed LSN", s.ConfirmedLsn, "server LSN", s.ServerLsn,
		"lag", fmt.Sprintf("%d bytes, %.1f s", s.LagBytes, s.LagSeconds),
		"last event", since(s.LastEventAt), "events published", strconv.FormatUint(s.EventsPublished, 10),
		"last error", s.LastError)
	return nil
}

func since(at *timestamppb.Timestamp) string {
	if at == nil {
		return "none yet"
	}
	return fmt.Sprintf("%s (%v ago)", at.AsTime().Format(time.RFC3339), time.Since(at.AsTime()).Round(time.Second))
}
