package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/config"
	"ponix/runtime/wire"
)

type sendCommand struct {
	config.NATS
	Device       string  `required:"" help:"The device that sends."`
	Organization string  `help:"Its organization; looked up if empty."`
	Hex          *string `xor:"payload" help:"The payload in hexadecimal digits."`
	Base64       *string `name:"base64" xor:"payload" help:"The payload in base64."`
	File         string  `xor:"payload" type:"path" help:"A file with the payload; without any of the three it is read from standard input."`
	Count        int     `default:"1" help:"How often it is sent."`
}

// overhead is what an envelope takes in a request beside its payload, at most: two ids
// of up to 64 bytes, a time, and its part of the headers.
const overhead = 256

func (c *sendCommand) Run(e *env) error {
	payload, err := c.payload(e.ctx)
	if err != nil {
		return err
	}
	if c.Count < 1 {
		return &usageError{errors.New("--count must be at least 1")}
	}
	return e.onNATS(c.NATS, "ponix send", func(e *env, nc *nats.Conn) error { return c.send(e, nc, payload) })
}

func (c *sendCommand) send(e *env, nc *nats.Conn, payload []byte) error {
	conn := wire.NewClient(nc)
	if c.Organization == "" {
		resp, err := enddevicev1.NewEndDeviceServiceClient(conn).GetEndDevice(e.ctx, &enddevicev1.GetEndDeviceRequest{DeviceId: c.Device})
		if err != nil {
			return plainStatus(err)
		}
		c.Organization = resp.EndDevice.OrganizationId
	}
	envelopes := envelopev1.NewEnvelopeServiceClient(conn)
	atOnce := min(1000, max(1, int(nc.MaxPayload())/(len(payload)+overhead))) // in a request
	for left := c.Count; left > 0; {
		n := min(left, atOnce)
		req := &envelopev1.PublishRawEnvelopesRequest{}
		for range n {
			req.Envelopes = append(req.Envelopes, &envelopev1.RawEnvelope{OrganizationId: c.Organization, DeviceId: c.Device, Payload: payload, ReceivedAt: timestamppb.Now()})
		}
		resp, err := envelopes.PublishRawEnvelopes(e.ctx, req)
		if err != nil {
			return plainStatus(err)
		}
		for _, id := range resp.EnvelopeIds {
			fmt.Fprintln(e.out, id)
		}
		left -= n
	}
	return nil
}

func (c *sendCommand) payload(ctx context.Context) (payload []byte, err error) {
	switch {
	case c.Hex != nil: // a payload may be empty
		if payload, err = hex.DecodeString(strings.Join(strings.Fields(*c.Hex), "")); err != nil {
			return nil, &usageError{fmt.Errorf("--hex: %w", err)}
		}
	case c.Base64 != nil:
		if payload, err = base64.StdEncoding.DecodeString(*c.Base64); err != nil {
			return nil, &usageError{fmt.Errorf("--base64: %w", err)}
		}
	case c.File != "":
		if payload, err = os.ReadFile(c.File); err != nil {
			return nil, &usageError{err}
		}
	default:
		return readInput(ctx)
	}
	return payload, nil
}

// readInput reads standard input to its end, unless ctx is done before: then
// whoever has forgotten a flag may leave.
func readInput(ctx context.Context) ([]byte, error) {
	var all []byte
	var err error
	done := make(chan struct{})
	go func() {
		all, err = io.ReadAll(os.Stdin)
		close(done)
	}()
	select {
	case <-done:
		return all, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// plainStatus shows a gRPC status as a person reads it: its messages say what is wrong.
func plainStatus(err error) error {
	return errors.New(status.Convert(err).Message())
}
