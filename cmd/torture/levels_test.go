package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/local"
)

// TestLeakIsTold has a node that takes three times what its level may go up by: what it
// keeps on disk is no leak, what it keeps in memory is one.
func TestLeakIsTold(t *testing.T) {
	t.Parallel()
	n := &local.NATSNode{Name: "leak", DataDir: t.TempDir(), Host: "127.0.0.1", Sync: time.Minute}
	for _, port := range []*int{&n.Port, &n.Profile} {
		var err error
		if *port, err = freePort(); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	nc, err := nats.Connect(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	level := func() levels {
		live, err := liveMiB(t.Context(), n.Profile)
		if err != nil {
			t.Fatal(err)
		}
		return levels{"NATS node": {"live MiB": live}}
	}
	const pieces = 96 // of a MiB each
	keep := func(name string, where jetstream.StorageType) {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Storage: where}); err != nil {
			t.Fatal(err)
		}
		for range pieces {
			if _, err := js.Publish(t.Context(), name, bytes.Repeat([]byte("x"), 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep("warm", jetstream.FileStorage)
	before := level()
	keep("disk", jetstream.FileStorage)
	if above := before.exceeded(level()); len(above) > 0 {
		t.Errorf("no leak is told as one: %s", above)
	}
	keep("memory", jetstream.MemoryStorage)
	if above := before.exceeded(level()); len(above) != 1 || !strings.Contains(above[0], "live MiB") {
		t.Errorf("a leak of %d MiB is told as %q", pieces, above)
	}
}

// TestStreamIsTold holds that one stream too many is one, however many there are.
func TestStreamIsTold(t *testing.T) {
	t.Parallel()
	before := levels{"JetStream": {"streams": 10, "consumers": 10}}
	if above := before.exceeded(before); len(above) > 0 {
		t.Errorf("%q", above)
	}
	if above := before.exceeded(levels{"JetStream": {"streams": 11, "consumers": 10}}); len(above) != 1 {
		t.Errorf("a stream more is told as %q", above)
	}
}
