package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// TestPublishAfterLostAcks has the stream's leader cut off from the instance, which
// stays connected: what it was sent is never acknowledged. When it is back, envelopes
// are taken again.
func TestPublishAfterLostAcks(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	s, err := e.js.Stream(t.Context(), "raw_envelopes")
	if err != nil {
		t.Fatal(err)
	}
	conf := s.CachedInfo().Config
	if err := e.js.DeleteStream(t.Context(), "raw_envelopes"); err != nil {
		t.Fatal(err)
	}
	mute, err := e.nc.Subscribe("raw_envelopes.>", func(*nats.Msg) {})
	if err != nil {
		t.Fatal(err)
	}
	batch := &envelopev1.PublishRawEnvelopesRequest{}
	for range 1000 {
		batch.Envelopes = append(batch.Envelopes, &envelopev1.RawEnvelope{OrganizationId: "o", DeviceId: "d"})
	}
	for range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := e.PublishRawEnvelopes(ctx, batch)
		cancel()
		if err == nil {
			t.Fatal("there is no stream, and it was published")
		}
	}
	if err := mute.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.CreateStream(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		batch.Envelopes = batch.Envelopes[:1]
		if _, err := e.PublishRawEnvelopes(t.Context(), batch); err != nil {
			t.Errorf("the stream is back: %v", err)
		}
	}
}
