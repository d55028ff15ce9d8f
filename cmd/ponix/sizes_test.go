package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/deadletter"
	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// limit is what a payload has at most, in bytes, and sizes are on both sides of where
// an encoding gets longer, up to it.
const limit = 256 << 10

var sizes = []int{0, 1, 127, 128, 1 << 10, 1<<14 - 1, 1 << 14, 1<<16 - 1, 1 << 16, 1<<17 + 1, limit - 1, limit}

// TestPayloadsOfEverySize sends payloads by gRPC, by NATS and by MQTT. One of the limit
// is a row; one of a byte more is a dead letter that names both, or, where a device
// has no one to tell it, a line of the log; one that NATS or gRPC does not take is an
// error that names both.
func TestPayloadsOfEverySize(t *testing.T) {
	t.Parallel()
	c := enginesOnly(t)
	serve, bridge := start(t, c.env, "serve"), start(t, c.env, "bridge", "--grpc-port", "0")
	serve.waitFor(t, 20*time.Second, "msg=serving")
	conn, err := grpc.NewClient(bridge.waitFor(t, 20*time.Second, `msg="serving gRPC" address=(\S+)`)[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	org := c.organization(t)
	ways := map[string]func(device string, payload []byte) error{
		"gRPC": func(device string, payload []byte) error {
			_, err := envelopev1.NewEnvelopeServiceClient(conn).PublishRawEnvelopes(t.Context(), &envelopev1.PublishRawEnvelopesRequest{
				Envelopes: []*envelopev1.RawEnvelope{{OrganizationId: org, DeviceId: device, Payload: payload}},
			})
			return err
		},
		"NATS": func(device string, payload []byte) error {
			_, err := c.js.Publish(t.Context(), "raw_envelopes."+org+"."+device, envelope(t, org, device, payload))
			return err
		},
		"MQTT": c.byMQTT(t, org),
	}
	devices := map[string]string{}
	for way, send := range ways {
		devices[way] = c.device(t, org, "{'n': size(input)}")
		for _, n := range append(sizes, limit+1) {
			if err := send(devices[way], make([]byte, n)); err != nil {
				t.Errorf("%s, %d bytes: %v", way, n, err)
			}
		}
	}
	c.wantSizes(t, devices)
	runtimetest.Eventually(t, 20*time.Second, func() error { return c.tooLarge(t, 2) }) // MQTT has none
	serve.waitFor(t, 20*time.Second, fmt.Sprintf("not taken.* too_large=1 max_payload=%d", limit))
	wantRefused(t, c.nats.MaxPayload(), ways, devices)
	c.wantNoRoomForHeader(t, org, devices["NATS"])
	c.wantMany(t, org)
}

// wantMany sends more payloads of the limit at once than a request holds, and than a
// NATS server keeps for a connection that does not read.
func (c *cluster) wantMany(t *testing.T, org string) {
	t.Helper()
	const many = 300
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, make([]byte, limit), 0o600); err != nil {
		t.Fatal(err)
	}
	device := c.device(t, org, "{'n': size(input)}")
	if n := strings.Count(must(t, c.env, "send", "--device", device, "--file", file, "--count", strconv.Itoa(many)), "\n"); n != many {
		t.Errorf("send tells of %d envelopes, want %d", n, many)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		got, err := call(t, c.env, "sql", "--format", "json", "SELECT count() AS n FROM processed_envelopes FINAL WHERE data.n = 262144 AND end_device_id = '"+device+"'")
		if err == nil && strings.TrimSpace(got) != fmt.Sprintf(`{"n":%d}`, many) {
			err = fmt.Errorf("rows: %s, want %d", got, many)
		}
		return err
	})
}

// byMQTT makes a broker and a gateway, and publishes to it.
func (c *cluster) byMQTT(t *testing.T, org string) func(device string, payload []byte) error {
	t.Helper()
	b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	gateway, err := c.gateways.CreateGateway(t.Context(), &gatewayv1.CreateGatewayRequest{
		OrganizationId: org, Name: "roof", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: b.URL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.env, org, gateway.Gateway.GatewayId, "connected")
	client := mqttDevice(t, b.URL)
	return func(device string, payload []byte) error {
		token := client.Publish(org+"/"+device, 1, false, payload)
		if !token.WaitTimeout(10 * time.Second) {
			return context.DeadlineExceeded
		}
		return token.Error()
	}
}

// wantSizes waits until each device has a row for each of sizes, and no other.
func (c *cluster) wantSizes(t *testing.T, devices map[string]string) {
	t.Helper()
	var want []string
	for _, n := range sizes {
		want = append(want, strconv.Itoa(n))
	}
	for way, device := range devices {
		runtimetest.Eventually(t, 30*time.Second, func() error {
			got, err := call(t, c.env, "sql", "--format", "json", "SELECT arrayStringConcat(arraySort(x -> toUInt64(x), groupArray(toString(data.n))), ' ') AS sizes FROM processed_envelopes FINAL WHERE end_device_id = '"+device+"'")
			var row struct{ Sizes string }
			if err == nil {
				err = json.Unmarshal([]byte(got), &row)
			}
			if err == nil && row.Sizes != strings.Join(want, " ") {
				err = fmt.Errorf("%s: rows of %s, want %s", way, row.Sizes, strings.Join(want, " "))
			}
			return err
		})
	}
}

// tooLarge holds the dead letters to being n, each of a payload that is a byte too large.
func (c *cluster) tooLarge(t *testing.T, n int) error {
	t.Helper()
	all := must(t, c.env, "dlq", "list", "--format", "json")
	if lines := strings.Count(all, "\n"); lines != n {
		return fmt.Errorf("%d dead letters, want %d:\n%s", lines, n, all)
	}
	for line := range strings.Lines(all) {
		var l deadletter.Letter
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return err
		}
		if want := fmt.Sprintf("the payload has %d bytes, the limit is %d", limit+1, limit); l.Reason != "PAYLOAD_TOO_LARGE" || !strings.Contains(l.Error, want) {
			t.Fatalf("got %s, %s", l.Reason, l.Error)
		}
	}
	return nil
}

// wantRefused sends what NATS does not take, and what gRPC does not. Neither is stored,
// which the numbers of rows and dead letters have shown for what is smaller.
func wantRefused(t *testing.T, most int64, ways map[string]func(string, []byte) error, devices map[string]string) {
	t.Helper()
	if err := ways["NATS"](devices["NATS"], make([]byte, most)); err != nats.ErrMaxPayload { //nolint:errorlint // it is that itself
		t.Errorf("NATS: got %v", err)
	}
	for _, tt := range []struct {
		size int
		want []string // in the error
	}{
		{int(most) + 1, []string{"the request has ", "NATS takes " + strconv.FormatInt(most, 10) + " at most"}},
		{8<<20 + 1, []string{"received message larger than max", strconv.Itoa(8 << 20)}},
	} {
		err := ways["gRPC"](devices["gRPC"], make([]byte, tt.size))
		for _, want := range tt.want {
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), want) {
				t.Errorf("gRPC, %d bytes: got %v, want %q", tt.size, err, want)
			}
		}
	}
}

// wantNoRoomForHeader sends a request that NATS just takes, whose envelope gets a header
// and is then too large.
func (c *cluster) wantNoRoomForHeader(t *testing.T, org, device string) {
	t.Helper()
	most := int(c.nats.MaxPayload())
	req := &envelopev1.PublishRawEnvelopesRequest{Envelopes: []*envelopev1.RawEnvelope{{OrganizationId: org, DeviceId: device, Payload: make([]byte, most)}}}
	req.Envelopes[0].Payload = req.Envelopes[0].Payload[:2*most-proto.Size(req)]
	data, err := proto.Marshal(req)
	if err != nil || len(data) != most {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	reply, err := c.nats.Request(wire.Subject(envelopev1.EnvelopeService_PublishRawEnvelopes_FullMethodName), data, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := wire.ReplyStatus(reply); got.Code() != codes.ResourceExhausted || !strings.Contains(got.Message(), fmt.Sprintf("bytes with its header, NATS takes %d at most", most)) {
		t.Errorf("got %v", got)
	}
}
