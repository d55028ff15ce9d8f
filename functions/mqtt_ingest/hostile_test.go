package mqttingest_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// TestHostileBrokers holds that no broker ends the process, or fills its memory, by what is
// a packet of MQTT, and no answer to what it was asked.
func TestHostileBrokers(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	const method = "\x06\x15\x00\x03abc" // properties: a method to authenticate by, which nobody has asked for
	brokers := map[string]hostile{
		"authenticated": {5, "\x20\x09\x00\x00" + method, hangUp},
		"authenticate":  {5, "\xf0\x08\x18" + method, hangUp},
		"again":         {5, "\x20\x03\x00\x00\x00", func(string) string { return "\xf0\x08\x18" + method }},
		"qos-2":         {4, "\x20\x02\x00\x00", func(id string) string { return "\x90\x03" + id + "\x01" + "\x34\x08\x00\x03a/b\x00\x01x" }},
		"two-for-one":   {4, "\x20\x02\x00\x00", func(id string) string { return "\x90\x04" + id + "\x00\x00" }},
	}
	for id, b := range brokers {
		e.gateway(t, "create", id, "mqtt://"+runtimetest.Listen(t, func(c net.Conn) { b.answer(t.Context(), c) }))
	}
	for id := range brokers {
		s := e.wantState(t, 20*time.Second, id, failing)
		t.Logf("%s: %s", id, s.LastError)
	}
}

func hangUp(string) string { return "" }

// TestLongHandshake has a broker answer a websocket's handshake with headers that do not end.
func TestLongHandshake(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	header := "X: " + strings.Repeat("x", 60_000) + "\r\n"
	const many = 1000 // enough to tell
	at := runtimetest.Listen(t, func(c net.Conn) {
		_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n")
		for n := 0; err == nil && n < many; n++ {
			_, err = io.WriteString(c, header)
		}
	})
	e.gateway(t, "create", "g1", "ws://"+at)
	if s := e.wantState(t, 20*time.Second, "g1", failing); !strings.Contains(s.LastError, "too long") {
		t.Errorf("it is read to its end: %s", s.LastError)
	}
}

// hostile is a broker of one version of MQTT, by what it answers.
type hostile struct {
	version   byte
	connect   string
	subscribe func(id string) string
}

func (h hostile) answer(ctx context.Context, c net.Conn) {
	in := bufio.NewReader(c)
	packet := func() []byte {
		head, err := in.Peek(2)
		if err != nil {
			return nil
		}
		p := make([]byte, 2+int(head[1])) // those of the gateway are short
		if _, err := io.ReadFull(in, p); err != nil {
			return nil
		}
		return p
	}
	if p := packet(); len(p) < 9 || p[8] != h.version {
		return
	}
	io.WriteString(c, h.connect) //nolint:errcheck // the gateway's state tells
	for p := packet(); p != nil; p = packet() {
		if p[0] != 0x82 { // a ping, say
			continue
		}
		more := h.subscribe(string(p[2:4]))
		if more == "" {
			return
		}
		io.WriteString(c, more) //nolint:errcheck // likewise
		<-ctx.Done()
	}
}
