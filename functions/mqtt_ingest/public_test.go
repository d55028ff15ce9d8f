package mqttingest_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqttingest "ponix/functions/mqtt_ingest"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// TestPublicBrokers holds that an instance which takes public brokers alone knocks nowhere
// else, by whatever name and in whatever way, and says why.
func TestPublicBrokers(t *testing.T) {
	t.Parallel()
	var knocks atomic.Int64
	_, port, err := net.SplitHostPort(runtimetest.Listen(t, func(net.Conn) { knocks.Add(1) }))
	if err != nil {
		t.Fatal(err)
	}
	e := start(t)
	e.instance(t, func(c *mqttingest.Config) { c.Public = true })
	for id, url := range map[string]string{
		"plain": "mqtt://127.0.0.1:", "name": "mqtt://localhost:", "tls": "mqtts://127.0.0.1:", "ws": "ws://127.0.0.1:", "wss": "wss://localhost:", "mapped": "mqtt://[::ffff:127.0.0.1]:",
	} {
		e.gateway(t, "create", id, url+port)
		e.wantState(t, 20*time.Second, id, func(s *pb.GatewayState) bool {
			return strings.Contains(s.LastError, "is no public address, and PONIX_MQTT_PUBLIC_BROKERS takes no other")
		})
	}
	if n := knocks.Load(); n > 0 {
		t.Errorf("%d connections came", n)
	}
}

// TestPublicBrokersBehindProxy names a proxy to an instance that takes public brokers alone:
// it would connect to any broker, and be refused itself where it is in the operator's network.
func TestPublicBrokersBehindProxy(t *testing.T) {
	t.Parallel()
	const proxy = "127.0.0.9"          // which no gateway names
	if os.Getenv("HTTP_PROXY") == "" { // it is read once in a process
		cmd := exec.Command(os.Args[0], "-test.run=^TestPublicBrokersBehindProxy$", "-test.count=1")
		cmd.Env = append(os.Environ(), "HTTP_PROXY=http://"+proxy+":1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	e := start(t)
	e.instance(t, func(c *mqttingest.Config) { c.Public = true })
	e.gateway(t, "create", "ws", "ws://10.9.8.7:1")
	s := e.wantState(t, 20*time.Second, "ws", failing)
	if strings.Contains(s.LastError, proxy) || !strings.Contains(s.LastError, "10.9.8.7 is no public address") {
		t.Errorf("got %s", s.LastError)
	}
}
