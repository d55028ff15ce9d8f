package cdc_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions/cdc"
	"ponix/nats/streams"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestBucketIsBroughtUpToDate holds that the bucket is made, and changed, with the streams:
// it has as many replicas as they have, and cdc's own user of NATS needs no right to that.
func TestBucketIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	want := c.CaptureState()
	old := want
	old.MaxBytes /= 2
	if _, err := js.CreateKeyValue(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := runtime.Prepare(t.Context(), runtime.Config{Conn: nc, Streams: c}, cdc.New(nil, nc, js, c, cdc.Config{})); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "KV_"+want.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxBytes; got != want.MaxBytes {
		t.Errorf("the bucket holds %d bytes, want %d", got, want.MaxBytes)
	}
}
