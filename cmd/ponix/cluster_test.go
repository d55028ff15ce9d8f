package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// cluster is where a test's commands and clients go.
type cluster struct {
	env           []string // finds it
	organizations organizationv1.OrganizationServiceClient
	devices       enddevicev1.EndDeviceServiceClient
	gateways      gatewayv1.GatewayServiceClient
	nats          *nats.Conn
	js            jetstream.JetStream
}

// up runs `ponix up` on ports that are free.
func up(t *testing.T, dir string, more ...string) (*ponix, *cluster) {
	t.Helper()
	args := []string{"up", "--data-dir", dir, "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0", "--mqtt", "--mqtt-port", "0", "--nats-ack-wait", "5s", "--timeout", "4s"}
	p := start(t, nil, append(args, more...)...)
	ready := p.waitFor(t, 90*time.Second, `^ready  gRPC (\S+)  NATS (\S+)  ClickHouse (\S+)`)
	postgres := p.waitFor(t, time.Second, `^✓ PostgreSQL\s+127.0.0.1:(\d+)`)
	conn, err := grpc.NewClient(ready[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	c := newCluster(t, ready[2], conn)
	c.env = []string{"PONIX_NATS_URL=" + ready[2], "PONIX_CLICKHOUSE_NATIVE_URL=" + ready[3], "PONIX_POSTGRES_PORT=" + postgres[1], "PONIX_NATS_ACK_WAIT=5s", "PONIX_TIMEOUT=4s"}
	return p, c
}

// engines starts the three engines without any function on them.
func enginesOnly(t *testing.T) *cluster {
	t.Helper()
	return enginesOn(t, runtimetest.NATSServer(t))
}

// enginesOn is enginesOnly with that NATS server.
func enginesOn(t *testing.T, srv *server.Server) *cluster {
	t.Helper()
	ch := runtimetest.ClickHouse(t)
	pg, err := url.Parse(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := pg.User.Password()
	nc := runtimetest.Connect(t, srv)
	c := newCluster(t, srv.ClientURL(), wire.NewClient(nc))
	c.env = []string{
		"PONIX_NATS_URL=" + srv.ClientURL(), "PONIX_NATS_ACK_WAIT=5s", "PONIX_TIMEOUT=4s",
		"PONIX_CLICKHOUSE_NATIVE_URL=" + ch.Addr[0], "PONIX_CLICKHOUSE_DATABASE=" + ch.Auth.Database,
		"PONIX_POSTGRES_HOST=" + pg.Hostname(), "PONIX_POSTGRES_PORT=" + pg.Port(), "PONIX_POSTGRES_DATABASE=" + strings.TrimPrefix(pg.Path, "/"),
		"PONIX_CDC_SLOT_NAME=slot_" + strings.TrimPrefix(pg.Path, "/"), // the tests' databases are on one server
		"PONIX_POSTGRES_USERNAME=" + pg.User.Username(), "PONIX_POSTGRES_PASSWORD=" + password,
	}
	must(t, c.env, "migrate", "up")
	return c
}

func newCluster(t *testing.T, natsURL string, conn grpc.ClientConnInterface) *cluster {
	t.Helper()
	nc, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{
		organizations: organizationv1.NewOrganizationServiceClient(conn), devices: enddevicev1.NewEndDeviceServiceClient(conn),
		gateways: gatewayv1.NewGatewayServiceClient(conn),
		nats:     nc, js: js,
	}
}

func (c *cluster) organization(t *testing.T) string {
	t.Helper()
	resp, err := c.organizations.CreateOrganization(t.Context(), &organizationv1.CreateOrganizationRequest{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.OrganizationId
}

func (c *cluster) device(t *testing.T, organization, conversion string) string {
	t.Helper()
	resp, err := c.devices.CreateEndDevice(t.Context(), &enddevicev1.CreateEndDeviceRequest{OrganizationId: organization, Name: "thermometer", PayloadConversion: conversion})
	if err != nil {
		t.Fatal(err)
	}
	return resp.EndDevice.DeviceId
}

// envelope is an encoded raw envelope.
func envelope(t *testing.T, organization, device string, payload []byte) []byte {
	t.Helper()
	data, err := proto.Marshal(&envelopev1.RawEnvelope{OrganizationId: organization, DeviceId: device, Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// publish sends messages as a stock NATS client does, and returns when all are
// acknowledged.
func (c *cluster) publish(t *testing.T, messages ...[]byte) {
	t.Helper()
	acks := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		var err error
		if acks[i], err = c.js.PublishAsync("raw_envelopes.a.b", m); err != nil {
			t.Fatal(err)
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			t.Fatal(err)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// wantRows waits until there are so many rows, each once.
func (c *cluster) wantRows(t *testing.T, within time.Duration, n int) {
	t.Helper()
	want := fmt.Sprintf(`{"rows":%d,"envelopes":%d}`+"\n", n, n)
	runtimetest.Eventually(t, within, func() error {
		got, err := call(t, c.env, "sql", "--format", "json", "SELECT count() AS rows, uniqExact(envelope_id) AS envelopes FROM processed_envelopes FINAL")
		if err == nil && got != want {
			err = fmt.Errorf("got %s, want %s", got, want)
		}
		return err
	})
}
