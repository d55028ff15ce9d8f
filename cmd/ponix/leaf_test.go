package main

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	"ponix/runtime/runtimetest"
)

// hub starts a NATS server whose JetStream is of the domain "hub".
func hub(t *testing.T, leafPort int) *server.Server {
	t.Helper()
	return runtimetest.NATSServer(t, func(o *server.Options) {
		o.JetStreamDomain, o.LeafNode.Host, o.LeafNode.Port = "hub", "127.0.0.1", leafPort
	})
}

// leafNode starts a NATS server with a JetStream of its own that is a leaf node of the one at
// that address.
func leafNode(t *testing.T, addr string) *server.Server {
	t.Helper()
	return runtimetest.NATSServer(t, func(o *server.Options) {
		o.JetStreamDomain, o.LeafNode.ReconnectInterval = "edge", 100*time.Millisecond
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: addr}}}}
	})
}

// TestLeafNode has everything run on a leaf node, with the streams in the domain of the hub,
// to which the way is not there at first, and is cut.
func TestLeafNode(t *testing.T) {
	t.Parallel()
	port := runtimetest.Port(t)
	link := runtimetest.NewLink(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	edge := leafNode(t, link.Addr)
	c := enginesOn(t, edge)
	c.env = append(c.env, "PONIX_NATS_JETSTREAM_DOMAIN=hub")
	serve := start(t, c.env, "serve")
	serve.waitFor(t, 20*time.Second, "waiting for NATS to answer.*PONIX_NATS_JETSTREAM_DOMAIN")
	hub := hub(t, port)
	serve.waitFor(t, 20*time.Second, "msg=serving")
	must(t, c.env, "streams")

	org := c.organization(t)
	device := c.device(t, org, "{'n': size(input)}")
	link.Cut()
	runtimetest.Eventually(t, 20*time.Second, func() error {
		_, err := call(t, c.env, "send", "--device", device, "--hex", "00")
		return err
	})
	c.wantData(t, device, `{"data":{"n":1}}`)
	if err := c.byMQTT(t, org)(device, []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	c.wantData(t, device, `{"data":{"n":1}}`, `{"data":{"n":2}}`)
	start(t, c.env, "tail", "--since", "1m").waitFor(t, 10*time.Second, device)

	if _, err := c.devices.UpdateEndDevice(t.Context(), &enddevicev1.UpdateEndDeviceRequest{
		DeviceId: device, PayloadConversion: new("{'n': 10 / (size(input) - 3)}"),
	}); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error { // the event may be on its way
		must(t, c.env, "send", "--device", device, "--hex", "000000")
		return c.hasLetter(t, "EVALUATION_FAILED")
	})
	if err := c.nats.PublishMsg(&nats.Msg{Subject: "raw_envelopes.a.b", Header: nats.Header{"Status": {"100"}}}); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error { return c.hasLetter(t, "STATUS_HEADER") })
	if info, err := domain(t, hub).AccountInfo(t.Context()); err != nil || info.Streams == 0 {
		t.Errorf("the hub has no streams: %v, %v", info, err)
	}
	if info, err := domain(t, edge).AccountInfo(t.Context()); err != nil || info.Streams != 0 {
		t.Errorf("the leaf node has streams of its own: %v, %v", info, err)
	}
	leases, err := domain(t, hub).KeyValue(t.Context(), "leases")
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := leases.Watch(t.Context(), "mqtt-ingest.*", jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-renewed.Updates():
		if e.Operation() != jetstream.KeyValuePut {
			t.Errorf("the instance's lease: %v, want it renewed", e.Operation())
		}
	case <-time.After(20 * time.Second):
		t.Error("the instance's lease is not renewed")
	}
}

// domain is the JetStream of a server itself.
func domain(t *testing.T, srv *server.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(runtimetest.Connect(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// hasLetter is an error where `ponix dlq list` shows none with that reason.
func (c *cluster) hasLetter(t *testing.T, reason string) error {
	t.Helper()
	out, err := call(t, c.env, "dlq", "list", "--reason", reason)
	if err == nil && !strings.Contains(out, reason) {
		err = fmt.Errorf("no %s in %q", reason, out)
	}
	return err
}
