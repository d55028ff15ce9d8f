package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

func TestMain(m *testing.M) {
	local.EngineMain()
	if os.Getenv(clockVariable) != "" {
		tellClocks()
		return
	}
	os.Exit(m.Run())
}

// clockVariable makes the test's program tell its clocks at each line of input.
const clockVariable = "PONIX_TORTURE_CLOCK"

func tellClocks() {
	began := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().UnixMilli(), time.Since(began).Milliseconds())
	}
}

// TestShortTorture is a short run, with the same faults each time: `just torture`
// draws others. This seed begins with kill -9 of a stream's leader, an instance,
// ClickHouse, PostgreSQL and the bridge.
func TestShortTorture(t *testing.T) {
	t.Parallel()
	o := options{For: 20 * time.Second, Rate: 200, Seed: 139681, MQTT: true, Dir: t.TempDir()}
	for version, path := range map[string]*string{"1.0.0": &o.Ponix, "2.0.0": &o.Next} {
		*path = filepath.Join(t.TempDir(), "ponix")
		if out, err := exec.Command("go", "build", "-ldflags", "-s -w -X main.version="+version, "-o", *path, "ponix/cmd/ponix").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var out bytes.Buffer
	err := run(t.Context(), o, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
}

// TestInterrupted interrupts a run whose fault waits for rows, which do not come any more:
// it ends at once, and not when its time is over.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	w := &world{log: slog.New(slog.DiscardHandler), nc: runtimetest.NATS(t)}
	began := time.Now()
	time.AfterFunc(time.Second, interrupt)
	r, err := breakThings(ctx, w, &load{}, options{For: time.Minute, Rate: 1, Seed: 1, Faults: []string{"move the stream's leader"}})
	if took := time.Since(began); took > 10*time.Second || r.count() == 0 {
		t.Errorf("%d faults in %v, %v", r.count(), took, err)
	}
}

// TestChosen refuses a run that would break nothing, or not what is asked for.
func TestChosen(t *testing.T) {
	t.Parallel()
	for _, bad := range []options{{Rate: 1}, {For: time.Second}, {For: time.Second, Rate: 1, Faults: []string{faults[0].name, "kill it"}}} {
		if err := run(t.Context(), bad, &bytes.Buffer{}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if all, err := (options{For: time.Second, Rate: 1, Faults: []string{faults[3].name}}).chosen(); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
}
