package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// identity makes of a raw envelope a processed one with its ids.
func identity() runtime.Function { return identityOn(testStreams()) }

func identityOn(cfg streams.Config) runtime.Function {
	return runtime.Func("convert", runtime.Transform(cfg.RawEnvelopes(), "convert", cfg.ProcessedEnvelopes(),
		func(e *envelopev1.ProcessedEnvelope) []string { return []string{e.OrganizationId, e.EndDeviceId} },
		func(ctx context.Context, e *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
			return &envelopev1.ProcessedEnvelope{OrganizationId: e.OrganizationId, EndDeviceId: e.DeviceId, EnvelopeId: runtime.MessageFrom(ctx).ID}, nil
		}))
}

// TestPoison sends what makes larger headers than NATS takes, or other ones: each is a
// result or a dead letter, and none comes again for ever.
func TestPoison(t *testing.T) {
	t.Parallel()
	const good = `{"organizationId":"o","deviceId":"d"}`
	long := strings.Repeat("x", 65_480) // with its name, as long as headers may be
	for name, m := range map[string]*nats.Msg{
		"a long header":                    {Data: []byte{0xff}, Header: nats.Header{"Custom": {long[:65_300]}}},
		"an error that quotes a long name": {Data: []byte(`{"` + long + `":1}`)},
		"a long id":                        {Data: []byte(good), Header: nats.Header{jetstream.MsgIDHeader: {long}}},
		"a long id of a replayed letter":   {Data: []byte(good), Header: nats.Header{"Ponix-Envelope-Id": {long}}},
		"a header that looks like a heartbeat of the server's": {Header: nats.Header{"Status": {"100"}}},
		"a header that looks like the end of the consumer":     {Header: nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}},
		"a header that nats.go cannot send":                    nil,
		"many empty headers":                                   nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := runtimetest.NATS(t)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			cfg := testStreams()
			cfg.AckWait = 2 * time.Second // for what the client has thrown away, believing that its consumer is gone
			h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)}, identityOn(cfg))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { h.Stop() }) //nolint:errcheck // the test is over
			switch {
			case name == "many empty headers":
				err = publishRaw(t, nc.ConnectedUrl(), strings.TrimSuffix(strings.Repeat("a:\r\n", 15_000), "\r\n"))
			case m == nil:
				err = publishRaw(t, nc.ConnectedUrl(), "sent by: a device")
			default:
				m.Subject = "raw_envelopes.o.d"
				_, err = js.PublishMsg(t.Context(), m)
			}
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "a result or a letter", func() bool {
				n := uint64(0)
				for _, name := range []string{"dead_letters", "processed_envelopes"} {
					s, err := js.Stream(t.Context(), name)
					if err != nil {
						t.Fatal(err)
					}
					n += s.CachedInfo().State.Msgs
				}
				c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
				return err == nil && n == 1 && c.CachedInfo().NumAckPending == 0 && c.CachedInfo().NumPending == 0
			})
			sendRaw(t, js, "", "o", "next")
			eventually(t, "the next is converted", func() bool {
				c, err := js.Consumer(t.Context(), "raw_envelopes", "convert")
				return err == nil && c.CachedInfo().AckFloor.Stream == 2
			})
		})
	}
}

// TestManyStatusHeaders sends many that look like the end of the consumer: each holds up
// the others, but not for a second each.
func TestManyStatusHeaders(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testStreams()
	cfg.AckWait = 2 * time.Second
	h, err := runtime.Start(t.Context(), runtime.Config{Conn: nc, Streams: cfg, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)}, identityOn(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Stop() }) //nolint:errcheck // the test is over
	for range 40 {
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "raw_envelopes.o.d", Header: nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}}); err != nil {
			t.Fatal(err)
		}
	}
	const others = 100
	for i := range others {
		sendRaw(t, js, "", "o", fmt.Sprint("d", i))
	}
	runtimetest.Eventually(t, 25*time.Second, func() error {
		s, err := js.Stream(t.Context(), "processed_envelopes")
		if err == nil && s.CachedInfo().State.Msgs != others {
			err = fmt.Errorf("%d of %d others are converted", s.CachedInfo().State.Msgs, others)
		}
		return err
	})
}

// publishRaw publishes with a header as nats.go does not write it.
func publishRaw(t *testing.T, url, header string) error {
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		return err
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
	h := "NATS/1.0\r\n" + header + "\r\n\r\n"
	_, err = fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB raw_envelopes.o.d %d %d\r\n%s\xff\r\nPING\r\n", len(h), len(h)+1, h)
	return err
}
