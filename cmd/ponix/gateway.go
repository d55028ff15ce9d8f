package main

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"

	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/config"
	"ponix/runtime/wire"
)

type gatewayCommand struct {
	Status gatewayStatusCommand `cmd:"" default:"withargs" help:"Show the gateways with their connections."`
}

type gatewayStatusCommand struct {
	config.NATS
	format
	Organization string        `help:"Id of the organization whose gateways are shown; all if none is given."`
	Timeout      time.Duration `default:"10s" help:"How long to wait for the answer."`
}

func (c *gatewayStatusCommand) Run(e *env) error {
	if err := idFlag("--organization", c.Organization); err != nil {
		return err
	}
	if c.Timeout <= 0 {
		return &usageError{errors.New("--timeout must be above 0")}
	}
	return e.onNATS(c.NATS, "ponix gateway", c.run)
}

func (c *gatewayStatusCommand) run(e *env, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(e.ctx, c.Timeout)
	defer cancel()
	conn := wire.NewClient(nc)
	organizations := []string{c.Organization}
	if c.Organization == "" {
		var err error
		if organizations, err = everyOrganization(ctx, organizationv1.NewOrganizationServiceClient(conn)); err != nil {
			return err
		}
	}
	var rows [][]string
	for _, id := range organizations {
		if err := eachState(ctx, gatewayv1.NewGatewayStateServiceClient(conn), id, func(s *gatewayv1.GatewayState) error {
			if c.Format != "json" {
				rows = append(rows, stateRow(s))
				return nil
			}
			line, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(s)
			if err != nil {
				return err
			}
			_, err = e.out.Write(append(line, '\n'))
			return err
		}); err != nil {
			return err
		}
	}
	if c.Format != "json" {
		e.out.table([]string{"GATEWAY", "NAME", "OWNER", "CONNECTION", "MESSAGES", "LAST MESSAGE", "LAST ERROR"}, rows)
	}
	return nil
}

func stateRow(s *gatewayv1.GatewayState) []string {
	last := "-"
	if s.LastMessageAt != nil {
		last = s.LastMessageAt.AsTime().Format(time.DateTime)
	}
	connection := strings.ToLower(strings.TrimPrefix(s.Connection.String(), "CONNECTION_STATUS_"))
	return []string{s.Gateway.GetGatewayId(), s.Gateway.GetName(), cmp.Or(s.Owner, "-"), connection, strconv.FormatUint(s.MessagesReceived, 10), last, s.LastError}
}

func everyOrganization(ctx context.Context, client organizationv1.OrganizationServiceClient) (ids []string, err error) {
	for token := ""; ; {
		resp, err := client.ListOrganizations(ctx, &organizationv1.ListOrganizationsRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, plainStatus(err)
		}
		for _, o := range resp.Organizations {
			ids = append(ids, o.Id)
		}
		if token = resp.NextPageToken; token == "" {
			return ids, nil
		}
	}
}

func eachState(ctx context.Context, client gatewayv1.GatewayStateServiceClient, organization string, f func(*gatewayv1.GatewayState) error) error {
	for token := ""; ; {
		resp, err := client.ListGatewayStates(ctx, &gatewayv1.ListGatewayStatesRequest{OrganizationId: organization, PageSize: 1000, PageToken: token})
		if err != nil {
			return plainStatus(err)
		}
		for _, s := range resp.States {
			if err := f(s); err != nil {
				return err
			}
		}
		if token = resp.NextPageToken; token == "" {
			return nil
		}
	}
}
