package conf_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/config"
)

// TestStreamsComeFirst starts a function as its user, who makes no streams: it says who does.
func TestStreamsComeFirst(t *testing.T) {
	s := start(t)
	c := config.Default[streams.Config]()
	_, err := runtime.Start(t.Context(), runtime.Config{Conn: s.connect(t, "convert"), Streams: c, Logger: slog.New(slog.DiscardHandler)}, runtime.Func("convert",
		runtime.OnMessage(c.RawEnvelopes(), streams.Convert, func(context.Context, *envelopev1.RawEnvelope) error { return nil })))
	if err == nil || !strings.Contains(err.Error(), "`ponix streams`") || !strings.Contains(err.Error(), "$JS.API.STREAM.") {
		t.Errorf("got %v", err)
	}
}

// TestOtherLimits starts a function, as its user, with another limit than the streams have: the
// error names it.
func TestOtherLimits(t *testing.T) {
	s := start(t)
	c := config.Default[streams.Config]()
	convert := func() runtime.Function {
		return runtime.Func("convert", runtime.OnMessage(c.RawEnvelopes(), streams.Convert, func(context.Context, *envelopev1.RawEnvelope) error { return nil }))
	}
	if err := runtime.Prepare(t.Context(), runtime.Config{Conn: s.connect(t, "operator"), Streams: c}, convert()); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*streams.Config){
		"stream raw_envelopes: MaxBytes is 2147483648, not 4294967296": func(c *streams.Config) { c.MaxBytes *= 2 },
		"stream raw_envelopes: AckWait is 30s, not 1m0s":               func(c *streams.Config) { c.AckWait *= 2 },
	} {
		before := c
		change(&c)
		_, err := runtime.Start(t.Context(), runtime.Config{Conn: s.connect(t, "convert"), Streams: c, Logger: slog.New(slog.DiscardHandler)}, convert())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "`ponix streams`") {
			t.Errorf("got %v, want %s", err, want)
		}
		c = before
	}
}
