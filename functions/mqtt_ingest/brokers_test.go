package mqttingest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/nats-io/nats-server/v2/server"

	mqttingest "ponix/functions/mqtt_ingest"
	pb "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/runtimetest"
)

// olderBroker speaks MQTT 3.1.1 only: the NATS server.
func olderBroker(t *testing.T) string {
	t.Helper()
	port := runtimetest.Port(t)
	srv, err := server.NewServer(&server.Options{
		ServerName: "older", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: port, AckWait: 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Shutdown)
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not get ready")
	}
	return "tcp://127.0.0.1:" + strconv.Itoa(port)
}

func TestMQTT311(t *testing.T) {
	t.Parallel()
	e := start(t)
	h := e.instance(t)
	b := olderBroker(t)
	e.gateway(t, "create", "g1", b)
	e.wantState(t, 20*time.Second, "g1", connected)
	device := publisher(t, b)
	done(t, device.Publish("acme/thermometer", 1, false, "one"))
	e.stored(t, 20*time.Second, 1)
	// What comes while nobody is there waits at the broker.
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	const more = 500
	for i := range more {
		done(t, device.Publish("acme/thermometer", 1, false, fmt.Sprint(i)))
	}
	e.instance(t)
	e.stored(t, 20*time.Second, more+1)
	e.wantDistinct(t, more+1)
}

// wantDistinct waits until the stream has so many envelopes, each with another
// payload.
func (e *env) wantDistinct(t *testing.T, n int) {
	t.Helper()
	seen := map[string]int{}
	all := e.envelopes(t)
	for _, raw := range all {
		seen[string(raw.Payload)]++
	}
	if len(seen) != n || len(all) != n {
		t.Errorf("%d envelopes with %d payloads, want %d", len(all), len(seen), n)
	}
}

// TestSecureBrokers goes through TLS, websockets and credentials.
func TestSecureBrokers(t *testing.T) {
	t.Parallel()
	e := start(t)
	certificate, ca := certificate(t)
	e.instance(t, func(c *mqttingest.Config) { c.CAFile = ca })
	const password = "s3cret/word"
	b := mochi.New(&mochi.Options{})
	if err := b.AddHook(new(auth.Hook), &auth.Options{Ledger: &auth.Ledger{Auth: auth.AuthRules{
		{Username: "ponix", Password: password, Allow: true}, {Username: "device", Password: "d", Allow: true},
	}}}); err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	plain := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	overTLS := listeners.NewTCP(listeners.Config{ID: "tls", Address: "127.0.0.1:0", TLSConfig: secure})
	ws := listeners.NewWebsocket(listeners.Config{ID: "ws", Address: runtimetest.Address(t)})
	wss := listeners.NewWebsocket(listeners.Config{ID: "wss", Address: runtimetest.Address(t), TLSConfig: secure})
	for _, l := range []listeners.Listener{plain, overTLS, ws, wss} {
		if err := b.AddListener(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() }) //nolint:errcheck // the test is over
	user := "ponix:s3cret%2Fword@"
	for id, url := range map[string]string{
		"tcp": "tcp://" + user + plain.Address(), "mqtts": "mqtts://" + user + overTLS.Address(), "ssl": "ssl://" + user + overTLS.Address(),
		"ws": "ws://" + user + ws.Address(), "wss": "wss://" + user + wss.Address() + "/mqtt",
	} {
		e.gateway(t, "create", id, url)
		e.wantState(t, 20*time.Second, id, connected)
	}
	device := publisher(t, "tcp://"+plain.Address(), func(o *mqtt3.ClientOptions) { o.SetUsername("device").SetPassword("d") })
	done(t, device.Publish("acme/thermometer", 1, false, bytes.Repeat([]byte("x"), 100_000)))
	e.stored(t, 10*time.Second, 5) // each gateway has it
	e.gateway(t, "create", "wrong", "mqtt://ponix:s3cret%2Fword!@"+plain.Address())
	e.gateway(t, "create", "untrusted", "mqtts://"+user+strings.Replace(overTLS.Address(), "127.0.0.1", "localhost", 1))
	e.gateway(t, "create", "away", "mqtt://ponix:s3cret%2Fword@127.0.0.1:1")
	for _, id := range []string{"wrong", "untrusted", "away"} {
		if s := e.wantState(t, 20*time.Second, id, failing); strings.Contains(s.String(), "s3cret") {
			t.Errorf("the password shows: %v", s)
		}
	}
	if strings.Contains(e.log.String(), "s3cret") {
		t.Errorf("the password is in the log:\n%s", e.log)
	}
}

// TestAuthoritiesAreReadAgain has a broker of an authority that is put into the file while its
// gateway tries to connect.
func TestAuthoritiesAreReadAgain(t *testing.T) {
	t.Parallel()
	e := start(t)
	_, file := certificate(t)
	ours, ca := certificate(t)
	e.instance(t, func(c *mqttingest.Config) { c.CAFile = file })
	b := mochi.New(&mochi.Options{})
	if err := b.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "tls", Address: "127.0.0.1:0", TLSConfig: &tls.Config{Certificates: []tls.Certificate{ours}, MinVersion: tls.VersionTLS12}})
	if err := b.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() }) //nolint:errcheck // the test is over
	e.gateway(t, "create", "g1", "mqtts://"+l.Address())
	e.wantState(t, 20*time.Second, "g1", failing)
	if err := os.Rename(ca, file); err != nil {
		t.Fatal(err)
	}
	e.wantState(t, 30*time.Second, "g1", connected)
}

// TestBadBrokers holds that brokers which are down, silent, refuse, or send what
// is not MQTT disturb no other gateway.
func TestBadBrokers(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	refuse := broker(t, "", &refusing{})
	for id, url := range map[string]string{
		"down":    "mqtt://127.0.0.1:1",
		"silent":  "mqtt://" + runtimetest.Listen(t, func(net.Conn) { <-t.Context().Done() }),
		"hangsup": "mqtt://" + runtimetest.Listen(t, func(net.Conn) {}),
		"babble":  "mqtt://" + runtimetest.Listen(t, func(c net.Conn) { io.Copy(c, rand.Reader) }), //nolint:errcheck // until it is closed
		"refuses": refuse.url,
		"nowhere": "mqtt://broker.invalid",
	} {
		e.gateway(t, "create", id, url)
	}
	good := broker(t, "")
	e.gateway(t, "create", "good", good.url)
	e.wantState(t, 20*time.Second, "good", connected)
	done(t, publisher(t, good.url).Publish("acme/thermometer", 1, false, "fine"))
	e.stored(t, 20*time.Second, 1)
	fails := func(id string) {
		s := e.wantState(t, 15*time.Second, id, failing)
		t.Logf("%s: %s", id, s.LastError)
	}
	fails("refuses")
	// When the reason is gone, it connects, as long as it has not waited for long.
	refuse.stop()
	broker(t, refuse.address(t))
	e.wantState(t, 15*time.Second, "refuses", func(s *pb.GatewayState) bool { return connected(s) && s.LastError == "" })
	for _, id := range []string{"down", "hangsup", "babble", "nowhere", "silent"} {
		fails(id)
	}
}

// refusing is a broker's hook that lets nobody in.
type refusing struct{ mochi.HookBase }

func (*refusing) ID() string           { return "refusing" }
func (*refusing) Provides(b byte) bool { return b == mochi.OnConnectAuthenticate }
func (*refusing) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool {
	return false
}

// TestBrokerHangsUp holds that a gateway works whose broker closes the connection of who
// subscribes to what is not allowed, in both versions of MQTT.
func TestBrokerHangsUp(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	for id, hook := range map[string]*hangingUp{"new": {}, "old": {older: true}} {
		b := broker(t, "", hook)
		e.gateway(t, "create", id, b.url)
		e.wantState(t, 9*time.Second, id, connected)
		done(t, publisher(t, b.url).Publish("acme/thermometer", 1, false, id))
	}
	e.stored(t, 20*time.Second, 2)
}

// hangingUp is a broker's hook that lets nobody subscribe to everything.
type hangingUp struct {
	mochi.HookBase
	older bool // than MQTT 5
}

func (*hangingUp) ID() string { return "hanging up" }

func (*hangingUp) Provides(b byte) bool {
	return b == mochi.OnConnect || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (h *hangingUp) OnConnect(_ *mochi.Client, p packets.Packet) error {
	if h.older && p.ProtocolVersion == 5 {
		return packets.ErrUnsupportedProtocolVersion
	}
	return nil
}

func (*hangingUp) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*hangingUp) OnACLCheck(c *mochi.Client, topic string, _ bool) bool {
	if topic == "+/#" {
		c.Stop(packets.ErrNotAuthorized)
	}
	return topic != "+/#"
}

// TestSubscriptionIsLost loses the connection after the broker has let a gateway subscribe
// to everything, and before it says so. It must not keep that beside another one: there are
// brokers that send a message once for each.
func TestSubscriptionIsLost(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	for id, hook := range map[string]*lostAnswer{"new": {}, "old": {hangingUp: hangingUp{older: true}}} {
		b := broker(t, "", hook)
		e.gateway(t, "create", id, b.url)
		e.wantState(t, 9*time.Second, id, connected)
		client, there := b.Clients.Get("ponix-" + id)
		if !there {
			t.Fatal("it is not connected")
		}
		if all := client.State.Subscriptions.GetAll(); len(all) != 1 || !hook.lost.Load() {
			t.Errorf("%s: subscribed to %v", id, all)
		}
	}
}

// lostAnswer is a broker's hook that closes the connection instead of answering the first
// subscription.
type lostAnswer struct {
	hangingUp
	lost atomic.Bool
}

func (*lostAnswer) Provides(b byte) bool {
	return b == mochi.OnConnect || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck || b == mochi.OnSubscribed
}

func (*lostAnswer) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (l *lostAnswer) OnSubscribed(c *mochi.Client, _ packets.Packet, _ []byte) {
	if l.lost.CompareAndSwap(false, true) {
		c.Stop(packets.ErrServerShuttingDown)
	}
}

// TestBrokerComesBack holds that a session survives its broker.
func TestBrokerComesBack(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	b := broker(t, "")
	e.gateway(t, "create", "g1", b.url)
	for i := range 3 {
		e.wantState(t, 20*time.Second, "g1", connected)
		done(t, publisher(t, b.url).Publish("acme/thermometer", 1, false, "the same"))
		e.stored(t, 20*time.Second, uint64(i)+1)
		b.stop()
		e.wantState(t, 20*time.Second, "g1", failing)
		b = broker(t, b.address(t)) // it has forgotten everything, and counts from one
	}
}

// certificate makes one for 127.0.0.1, which is its own authority, in a file.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// TestThereAndBack changes a gateway's URL by mistake, and changes it back: a broker that
// speaks MQTT 3.1.1 has kept the session, but not what it is subscribed to.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	b := olderBroker(t)
	e.gateway(t, "create", "g1", b)
	e.wantState(t, 20*time.Second, "g1", connected)
	device := publisher(t, b)
	done(t, device.Publish("acme/thermometer", 1, false, "one"))
	e.stored(t, 20*time.Second, 1)
	e.gateway(t, "update", "g1", "tcp://127.0.0.1:1") // a typo
	e.wantState(t, 20*time.Second, "g1", failing)
	e.gateway(t, "update", "g1", b)
	e.wantState(t, 20*time.Second, "g1", connected)
	time.Sleep(500 * time.Millisecond)
	done(t, device.Publish("acme/thermometer", 1, false, "two"))
	e.stored(t, 10*time.Second, 2)
}
