package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ponix/bridge"
	"ponix/runtime/runtimetest"
)

// TestUpSaysWhatIsInTheWay holds that a start which cannot work fails with exit
// code 1 and names the part and what to do.
func TestUpSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) //nolint:errcheck // nothing is written to it
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for flag, part := range map[string]string{"--nats-port": "NATS", "--postgres-port": "PostgreSQL", "--clickhouse-port": "ClickHouse", "--grpc-port": "grpc"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			args := []string{"up", "--data-dir", t.TempDir()}
			for _, f := range []string{"--nats-port", "--postgres-port", "--clickhouse-port", "--grpc-port"} {
				value := "0"
				if f == flag {
					value = port
				}
				args = append(args, f, value)
			}
			_, err := call(t, nil, args...)
			if err == nil || !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), port) || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), part) {
				t.Errorf("got %v; it must name %s, the port %s and %s", err, part, port, flag)
			}
		})
	}
}

// TestUpHasPasswordsOfItsOwn starts engines whose users, passwords and databases differ.
func TestUpHasPasswordsOfItsOwn(t *testing.T) {
	t.Parallel()
	ports := []string{"up", "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0"}
	env := []string{
		"PONIX_POSTGRES_USERNAME=paul", "PONIX_POSTGRES_PASSWORD=elephant", "PONIX_POSTGRES_DATABASE=rows",
		"PONIX_CLICKHOUSE_USERNAME=carl", "PONIX_CLICKHOUSE_PASSWORD=camel", "PONIX_CLICKHOUSE_DATABASE=columns",
	}
	p := start(t, env, append(ports, "--data-dir", t.TempDir())...)
	ready := p.waitFor(t, 90*time.Second, `^ready .*ClickHouse (\S+)`)
	if got := must(t, append(env, "PONIX_CLICKHOUSE_NATIVE_URL="+ready[1]), "sql", "--format", "json", "SELECT count() AS n FROM processed_envelopes"); !strings.Contains(got, `"n":0`) {
		t.Errorf("got %s", got)
	}
	for _, variable := range []string{"PONIX_POSTGRES_PASSWORD", "PONIX_CLICKHOUSE_PASSWORD"} {
		if _, err := call(t, []string{variable + "="}, append(ports, "--data-dir", t.TempDir())...); err == nil || !strings.Contains(err.Error(), "exit code 2") || !strings.Contains(err.Error(), variable) {
			t.Errorf("an empty %s: %v", variable, err)
		}
	}
}

// TestUpReplicas holds that one server is not asked for replicas that it cannot hold, and
// that one which is somebody else's gets those that are configured.
func TestUpReplicas(t *testing.T) {
	t.Parallel()
	args := []string{"up", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0", "--data-dir", t.TempDir()}
	_, err := call(t, []string{"PONIX_NATS_REPLICAS=3"}, append(args, "--nats-port", "0")...)
	if err == nil || !strings.Contains(err.Error(), "exit code 2") || !strings.Contains(err.Error(), "PONIX_NATS_REPLICAS") {
		t.Errorf("got %v", err)
	}
	p := start(t, []string{"PONIX_NATS_URL=" + runtimetest.NATSServer(t).ClientURL()}, append(args, "--nats-nodes", "3")...)
	p.waitFor(t, 90*time.Second, `^ready`)
}

// children returns the processes that p started, by name.
func (p *ponix) children(t *testing.T) map[string]int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		var pid, parent int
		var state string
		after := stat[bytes.LastIndexByte(stat, ')')+1:]
		if _, err := fmt.Sscan(string(after), &state, &parent); err != nil || parent != p.Process.Pid {
			continue
		}
		if _, err := fmt.Sscan(string(stat), &pid); err != nil {
			t.Fatal(err)
		}
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		for name, mark := range map[string]string{"PostgreSQL": "bin/postgres\x00", "ClickHouse": "ponix: ClickHouse\x00"} {
			if bytes.Contains(args, []byte(mark)) {
				found[name] = pid
			}
		}
	}
	if len(found) != 2 {
		t.Fatalf("ponix up has the children %v", found)
	}
	return found
}

// alive tells whether there is a process that has not ended.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestUpNamesTheEngineThatDies kills one engine: the rest ends, too, with an
// error that names it.
func TestUpNamesTheEngineThatDies(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"PostgreSQL", "ClickHouse"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, _ := up(t, t.TempDir())
			children := p.children(t)
			if err := syscall.Kill(children[engine], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.ended:
			case <-time.After(30 * time.Second):
				t.Fatal("ponix up goes on")
			}
			if p.ProcessState.ExitCode() != 1 || !strings.Contains(p.log.String(), "ponix: "+engine) {
				t.Errorf("it ended with %v:\n%s", p.err, p.log)
			}
			for name, pid := range children {
				if alive(pid) {
					t.Errorf("%s is left over", name)
				}
			}
		})
	}
}

// TestNothingOutlivesUp kills ponix up itself; its data can be used again.
func TestNothingOutlivesUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, c := up(t, dir)
	if _, err := call(t, nil, "up", "--data-dir", dir, "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0"); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second ponix up on the same data: %v", err)
	}
	org := c.organization(t)
	device := c.device(t, org, decode)
	c.publish(t, envelope(t, org, device, temperature))
	c.wantRows(t, 10*time.Second, 1)
	children := p.children(t)
	p.kill(t)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		for name, pid := range children {
			if alive(pid) {
				return fmt.Errorf("%s is left over", name)
			}
		}
		return nil
	})
	_, c = up(t, dir)
	c.wantRows(t, 10*time.Second, 1)
}

// TestReadyWithCertificates holds what is said where clients have certificates.
func TestReadyWithCertificates(t *testing.T) {
	t.Parallel()
	var c upCommand
	c.TLSClientCA = "clients.pem"
	var b strings.Builder
	c.ready(&output{Writer: &b}, "localhost:50051", bridge.Config{TLS: &tls.Config{}}, time.Second)
	for _, want := range []string{"whoever has a certificate of clients.pem", "grpcurl -cacert <file> -cert <file> -key <file> -d"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing:\n%s", want, &b)
		}
	}
}

// TestUpNamesWhatItDoesNotStart leaves the address of an earlier start in the environment.
func TestUpNamesWhatItDoesNotStart(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"PONIX_NATS_URL=nats://me:secret@127.0.0.1:1"}, "up", "--data-dir", t.TempDir(), "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0")
	line := p.waitFor(t, 30*time.Second, `^… NATS\s+is not started: PONIX_NATS_URL names (.*)`)
	if strings.Contains(line[1], "secret") {
		t.Error(line)
	}
	p.waitFor(t, 90*time.Second, `^✓ PostgreSQL`)
	if strings.Contains(p.out.String(), "PostgreSQL  is not started") {
		t.Error(p.out)
	}
}

// TestReadyElsewhere holds that the commands that are shown find engines on other ports.
func TestReadyElsewhere(t *testing.T) {
	t.Parallel()
	for want, engines := range map[string][3]string{
		"try:\n  export NATS_URL=nats://127.0.0.1:4333 PONIX_NATS_URL=nats://127.0.0.1:4333 PONIX_CLICKHOUSE_NATIVE_URL=127.0.0.1:9001\n": {"nats://127.0.0.1:4333", "127.0.0.1:9001", "127.0.0.1"},
		"try:\n  export PONIX_CLICKHOUSE_NATIVE_URL=c1:9000\n":                                                                            {"nats://me:secret@n1", "c1:9000", "127.0.0.1"},
		"try:\n  export PONIX_POSTGRES_HOST=pg\n":                                                                                         {"nats://127.0.0.1:4222", "127.0.0.1:9000", "pg"},
		"try:\n  grpcurl": {"nats://127.0.0.1:4222", "127.0.0.1:9000", "127.0.0.1"},
	} {
		var c upCommand
		c.NATS.URL, c.NativeURL, c.Postgres.Host, c.Postgres.Port = engines[0], engines[1], engines[2], 5432
		var b strings.Builder
		c.ready(&output{Writer: &b}, "localhost:50051", bridge.Config{}, time.Second)
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "secret@") {
			t.Errorf("%q is missing:\n%s", want, &b)
		}
	}
}

// TestUpTellsOfAnEngineThatItKilled holds that the exit code is 0 after a clean drain
// only.
func TestUpTellsOfAnEngineThatItKilled(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "up", "--data-dir", t.TempDir(), "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0", "--grace", "2s")
	p.waitFor(t, 90*time.Second, `^ready  gRPC`)
	if err := syscall.Kill(p.children(t)["PostgreSQL"], syscall.SIGSTOP); err != nil { // it answers nobody any more
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("ponix up goes on")
	}
	if p.ProcessState.ExitCode() != 1 || !strings.Contains(p.log.String(), "it had to be killed") {
		t.Errorf("it ended with %v:\n%s", p.err, p.log)
	}
}
