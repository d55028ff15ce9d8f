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
