package local_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

// client connects to a broker; f sees what it receives.
func client(b *local.Broker, id string, f paho.MessageHandler) (paho.Client, error) {
	c := paho.NewClient(paho.NewClientOptions().AddBroker(b.URL).SetClientID(id).SetProtocolVersion(4).SetCleanSession(false).
		SetAutoReconnect(false).SetDefaultPublishHandler(f))
	return c, done(c.Connect())
}

func done(token paho.Token) error {
	if !token.WaitTimeout(10 * time.Second) {
		return fmt.Errorf("the broker does not answer")
	}
	return token.Error()
}

// TestBrokerStops while clients come and go, and beside one that says nothing.
func TestBrokerStops(t *testing.T) {
	t.Parallel()
	for range 20 {
		b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		addr := strings.TrimPrefix(b.URL, "mqtt://")
		silent, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				for ctx.Err() == nil {
					if c, err := net.Dial("tcp", addr); err == nil {
						fmt.Fprintf(c, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x") // CONNECT
						c.Close()                                                       //nolint:errcheck // it goes without a word
					}
				}
			})
		}
		time.Sleep(10 * time.Millisecond)
		began := time.Now()
		b.Stop()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		cancel()
		clients.Wait()
		silent.Close() //nolint:errcheck // the broker has closed it
	}
}

// TestBrokerTellsOfItsEnd holds that a client of MQTT 5 learns why its session ends.
func TestBrokerTellsOfItsEnd(t *testing.T) {
	t.Parallel()
	b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "mqtt://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()                                                     //nolint:errcheck // the broker has closed it
	fmt.Fprintf(c, "\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01x") // CONNECT
	connack := make([]byte, 2)
	if _, err := io.ReadFull(c, connack); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(connack[1])); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	last, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(last) < 3 || last[0] != 0xe0 || last[2] != 0x8b { // DISCONNECT, server shutting down
		t.Errorf("the broker's last word was % x", last)
	}
}

// TestBrokerStopsBesideStalled has more for a subscriber that does not read than the
// system takes.
func TestBrokerStopsBesideStalled(t *testing.T) {
	t.Parallel()
	b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stalled, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "mqtt://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()                                                 //nolint:errcheck // the broker has closed it
	fmt.Fprintf(stalled, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x") // CONNECT
	fmt.Fprintf(stalled, "\x82\x06\x00\x01\x00\x01#\x00")                 // SUBSCRIBE
	if _, err := io.ReadFull(stalled, make([]byte, 4+5)); err != nil {
		t.Fatal(err)
	}
	device, err := client(b, "device", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := done(device.Publish("acme/thermometer", 1, false, make([]byte, 1<<20))); err != nil {
			t.Fatal(err)
		}
	}
	device.Disconnect(100)
	stopped := make(chan struct{})
	go func() {
		b.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("it does not stop")
	}
}

// TestTakeoversLoseNothing publishes while one session is taken over again and
// again: the broker keeps what it has acknowledged.
func TestTakeoversLoseNothing(t *testing.T) {
	t.Parallel()
	b, err := local.StartBroker("127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	const publishers, each = 4, 1500
	var mu sync.Mutex
	received := map[string]bool{}
	takeOver := func() (paho.Client, error) {
		return client(b, "gateway", func(_ paho.Client, m paho.Message) {
			mu.Lock()
			defer mu.Unlock()
			received[string(m.Payload())] = true
		})
	}
	gateway, err := takeOver()
	if err != nil {
		t.Fatal(err)
	}
	if err := done(gateway.Subscribe("acme/+", 1, nil)); err != nil {
		t.Fatal(err)
	}
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			c, err := client(b, fmt.Sprint("device", p), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Disconnect(0)
			for i := range each {
				if err := done(c.Publish("acme/thermometer", 1, false, fmt.Sprint(p, " ", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	published := make(chan struct{})
	go func() {
		publishing.Wait()
		close(published)
	}()
	for more := true; more; {
		select {
		case <-published:
			more = false
		default:
		}
		if gateway, err = takeOver(); err != nil {
			t.Errorf("taking over: %v", err)
		}
	}
	defer gateway.Disconnect(0)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(received) != publishers*each {
			return fmt.Errorf("%d of %d messages", len(received), publishers*each)
		}
		return nil
	})
}
