package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"ponix/functions"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// wantData waits until what the device has sent is this, newest last.
func (c *cluster) wantData(t *testing.T, device string, want ...string) {
	t.Helper()
	runtimetest.Eventually(t, 10*time.Second, func() error {
		got, err := call(t, c.env, "sql", "--format", "json", "SELECT data FROM processed_envelopes FINAL WHERE end_device_id = '"+device+"' ORDER BY occurred_at")
		if err != nil {
			return err
		}
		if got != strings.Join(want, "\n")+"\n" {
			return fmt.Errorf("got %s, want %s", got, want)
		}
		return nil
	})
}

// TestTour is the README's tour, and then the same cluster a second time.
func TestTour(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, c := up(t, dir)
	for _, where := range c.env[:3] { // of the engines
		if set := p.waitFor(t, 10*time.Second, `^  export (.*)`)[1]; !strings.Contains(set+" ", " "+where+" ") {
			t.Errorf("%q does not tell other commands of %s", set, where)
		}
	}
	org := c.organization(t)
	device := c.device(t, org, "cayenne_lpp_decode(input)")
	got, err := c.devices.GetEndDevice(t.Context(), &enddevicev1.GetEndDeviceRequest{DeviceId: device})
	if err != nil || got.EndDevice.PayloadConversion != "cayenne_lpp_decode(input)" {
		t.Fatalf("got %v, %v", got, err)
	}
	tail := start(t, c.env, "tail", "--since", "1m")

	must(t, c.env, "send", "--device", device, "--hex", "01670110")
	c.wantData(t, device, `{"data":{"temperature_1":27.2}}`)
	c.publish(t, envelope(t, org, device, []byte{0x01, 0x67, 0xff, 0xd7}))
	c.wantData(t, device, `{"data":{"temperature_1":27.2}}`, `{"data":{"temperature_1":-4.1}}`)
	if got := must(t, c.env, "sql", "SELECT data FROM processed_envelopes FINAL ORDER BY occurred_at LIMIT 1"); got != "data\n"+`{"temperature_1":27.2}`+"\n" {
		t.Errorf("as a table: %q", got)
	}
	for _, change := range []string{"CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", "/* two */ insert into t VALUES (1), (2)", "INSERT INTO t SELECT n + 2 FROM t", "ALTER TABLE t DELETE WHERE n = 4"} {
		if got := must(t, c.env, "sql", change); got != "" {
			t.Errorf("%s: %q", change, got)
		}
	}
	runtimetest.Eventually(t, 10*time.Second, func() error { // a mutation is done later
		if got := must(t, c.env, "sql", "SELECT sum(n) FROM t"); got != "sum(n)\n6\n" {
			return fmt.Errorf("the sum is %q", got)
		}
		return nil
	})
	if _, err := call(t, c.env, "sql", "INSERT INTO t VALUES (1), ('no number')"); err == nil || !strings.Contains(err.Error(), "code") {
		t.Errorf("a refused INSERT: %v", err)
	}
	if got := must(t, c.env, "sql", "--format", "json", `SELECT ['{"a":1}'::JSON, '{}'::JSON] AS x, NULL::Nullable(JSON) AS y, '{"b":2}'::Nullable(JSON) AS z`); got != `{"x":[{"a":1},{}],"y":null,"z":{"b":2}}`+"\n" {
		t.Errorf("JSON in other types: %s", got)
	}
	if _, err := call(t, c.env, "sql", "SELECT map('a', toInt256(5))"); err == nil || !strings.Contains(err.Error(), "toString") {
		t.Errorf("a value that the driver cannot read: %v", err)
	}
	tail.waitFor(t, 5*time.Second, device+`  \{"temperature_1":-4.1\}$`)

	reply, err := c.nats.Request("ponix.organization.v1.OrganizationService.GetOrganization", []byte(`{"organization_id":"`+org+`"}`), 5*time.Second)
	if err != nil || !bytes.Contains(reply.Data, []byte(`"acme"`)) {
		t.Errorf("by hand: %s, %v", reply.Data, err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(must(t, c.env, "ps", "--format", "json")) {
		var row psRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		names[row.Function] = true
		if strings.Contains(row.Binding, "_envelopes/") && row.Handled != 2 {
			t.Errorf("%s has handled %d", row.Binding, row.Handled)
		}
		if !strings.Contains(row.Binding, "/") && row.Pending != nil {
			t.Errorf("for %s wait %d", row.Binding, *row.Pending)
		}
	}
	_, want, err := assemble(functions.Deps{NATS: new(nats.Conn)}, config.Default[functions.Config](), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("ps knows %v, want %v", got, want)
	}
	var info micro.Info
	if reply, err = c.nats.Request("$SRV.INFO.end-device", nil, 5*time.Second); err != nil || json.Unmarshal(reply.Data, &info) != nil || len(info.Endpoints) != 6 {
		t.Errorf("end-device: %s, %v", reply.Data, err)
	}

	c.overMQTT(t, p, org)
	c.intoNothing(t, device)

	p.interrupt(t)
	began := time.Now()
	_, c = up(t, dir)
	if took := time.Since(began); took > 5*time.Second*slow {
		t.Errorf("the second start took %v", took)
	}
	c.wantData(t, device, `{"data":{"temperature_1":27.2}}`, `{"data":{"temperature_1":-4.1}}`)
}

// intoNothing holds that what cannot be written, as on a full disk, is an error.
func (c *cluster) intoNothing(t *testing.T, device string) {
	t.Helper()
	nothing, err := os.Open(os.DevNull) // to read
	if err != nil {
		t.Fatal(err)
	}
	defer nothing.Close() //nolint:errcheck // it is only read
	for _, args := range [][]string{{"sql", "SELECT 1"}, {"sql", "--format", "json", "SELECT 1"}, {"ps"}, {"dlq", "list"}, {"gateway", "status"}, {"cdc", "status"}, {"migrate", "status"}, {"streams"}, {"send", "--device", device, "--hex", "00"}} {
		cmd := command(t.Context(), t, c.env, args...)
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = nothing, &log
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(log.String(), "ponix: write /dev/stdout:") {
			t.Errorf("%q: %v, %s", args, err, &log)
		}
	}
}

// TestThreeNATSNodes runs the main job on a cluster of three servers.
func TestThreeNATSNodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, c := up(t, dir, "--nats-nodes", "3")
	device := c.device(t, c.organization(t), decode)
	must(t, c.env, "send", "--device", device, "--hex", "01670110")
	c.wantData(t, device, `{"data":{"temperature_1":27.2}}`)
	s, err := c.js.Stream(t.Context(), "raw_envelopes")
	if err != nil || len(s.CachedInfo().Cluster.Replicas) != 2 {
		t.Errorf("the stream has no three replicas: %v", err)
	}
	p.interrupt(t)
	p, c = up(t, dir, "--nats-nodes", "3")
	if s, err = c.js.Stream(t.Context(), "raw_envelopes"); err != nil || s.CachedInfo().State.LastSeq != 1 {
		t.Errorf("after a restart: %v", err)
	}
	p.interrupt(t)
	if _, err := call(t, nil, "up", "--data-dir", dir, "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0"); err == nil || !strings.Contains(err.Error(), "the streams of NATS with several nodes") {
		t.Errorf("with one node: %v", err)
	}
}

// interrupt is Ctrl-C, and wants a clean end.
func (p *ponix) interrupt(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
		if p.err != nil {
			t.Fatalf("ended with %v\n%s%s", p.err, p.out, p.log)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("did not end\n%s%s", p.out, p.log)
	}
}
