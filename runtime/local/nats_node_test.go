package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

// TestNodeWaitsForItsStore starts a node while another one has its store, as when a killed
// `ponix up` has left one dying: it waits for its end.
func TestNodeWaitsForItsStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := func() *local.NATSNode {
		return &local.NATSNode{Name: "node", DataDir: dir, Host: "127.0.0.1", Port: runtimetest.Port(t), Sync: time.Minute}
	}
	old, next := node(), node()
	if err := old.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() { started <- next.Start(t.Context()) }()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		log, err := os.ReadFile(filepath.Join(dir, "nats.log"))
		if err == nil && !strings.Contains(string(log), "waiting for the engine that has the data directory") {
			err = errors.New("it does not wait")
		}
		return err
	})
	if err := old.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
