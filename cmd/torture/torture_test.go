package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ponix/runtime/local"
)

func TestMain(m *testing.M) {
	local.EngineMain()
	os.Exit(m.Run())
}

// TestShortTorture is a short run with whatever seed the time gives.
func TestShortTorture(t *testing.T) {
	t.Parallel()
	ponix := filepath.Join(t.TempDir(), "ponix")
	if out, err := exec.Command("go", "build", "-o", ponix, "ponix/cmd/ponix").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out bytes.Buffer
	err := run(t.Context(), options{For: 20 * time.Second, Rate: 200, MQTT: true, Ponix: ponix, Dir: t.TempDir()}, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
}
