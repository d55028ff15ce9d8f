package cdc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions/cdc"
	"ponix/nats/streams"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// asInstance makes the test binary an instance that can be killed; its value says
// where it works.
const asInstance = "PONIX_TEST_AS_CDC"

type whereabouts struct{ DSN, NATS, Slot string }

func TestMain(m *testing.M) {
	if text := os.Getenv(asInstance); text != "" {
		fmt.Fprintln(os.Stderr, instanceMain(text))
		os.Exit(1)
	}
	runtimetest.Main(m)
}

// instanceMain runs the function, and prints its instance's id.
func instanceMain(text string) error {
	var w whereabouts
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { // the test's end, however it comes, is ours
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // it has ended
		stop()
	}()
	nc, err := config.NATS{URL: w.NATS}.Connect(ctx, "cdc", slog.Default())
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	db, err := pgxpool.New(ctx, w.DSN)
	if err != nil {
		return err
	}
	c, s := config.Default[cdc.Config](), config.Default[streams.Config]()
	c.Slot = w.Slot
	fn := cdc.New(db, nc, js, s, c)
	fn.Bindings = append(fn.Bindings, runtime.Source("tell", func(ctx context.Context) error {
		fmt.Println(runtime.InstanceOf(ctx).ID())
		<-ctx.Done()
		return nil
	}))
	h, err := runtime.Start(ctx, runtime.Config{Conn: nc, Streams: s}, fn)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return h.Stop()
}

// process is an instance in a process of its own.
type process struct {
	*exec.Cmd
	id string
}

// process starts an instance, which is killed when the test ends.
func (e *env) process(t testing.TB) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(whereabouts{e.dsn, e.srv.ClientURL(), e.config.Slot})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), asInstance+"="+string(text))
	p.Stderr = t.Output()
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.id = strings.TrimSpace(line)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.Process.Kill() //nolint:errcheck // it may have ended
	p.Wait()         //nolint:errcheck // it was killed
}

// owner waits until one of the processes reads the slot.
func (e *env) owner(t testing.TB, of []*process) int {
	t.Helper()
	for {
		id := e.streaming(t).Owner
		for i, p := range of {
			if p.id == id {
				return i
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// The owner is killed while it takes the snapshot: the next begins it again.
func TestKilledInTheSnapshot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const rows = 50_000
	e.exec(t, "INSERT INTO organizations (id, name) SELECT n, 'acme' FROM generate_series(1, $1::int) AS n", rows)
	first := e.process(t)
	runtimetest.Eventually(t, 10*time.Second, func() error {
		s, err := e.js.Stream(t.Context(), "organizations")
		if err == nil && s.CachedInfo().State.LastSeq < 1000 {
			err = errNotYet
		}
		return err
	})
	first.kill()
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('meanwhile', 'acme')")
	e.process(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('last', 'acme')")
	e.wantError(t, "its snapshot was not finished")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		generations := map[string]map[string]bool{}
		for _, ev := range e.events(t, "organizations", rows+2) {
			generation, _, _ := strings.Cut(ev.id, ".")
			if generations[generation] == nil {
				generations[generation] = map[string]bool{}
			}
			if ev.operation != streams.Complete {
				generations[generation][decode(t, ev, &organizationv1.Organization{}).Id] = true
			}
		}
		for _, ids := range generations {
			if len(ids) == rows+2 && ids["meanwhile"] && ids["last"] {
				return nil
			}
		}
		return errNotYet
	})
}

// A standby takes over from an owner that is killed, and from one that hangs.
func TestFailover(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	all := []*process{e.process(t), e.process(t)}
	first := e.owner(t, all)
	second := 1 - first
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', '0')")
	e.events(t, "organizations", 1)

	signal := func(p *process, s syscall.Signal) {
		if err := p.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(all[first], syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(all[first].Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() { // until it has
		t.Fatalf("status %v, %v", status, err)
	}
	began := time.Now()
	e.exec(t, "UPDATE organizations SET name = '1'")
	e.events(t, "organizations", 2)
	t.Logf("from an owner that hangs: %v", time.Since(began))
	if got := e.owner(t, all); got != second {
		t.Fatal("the owner that hangs is still there")
	}
	signal(all[first], syscall.SIGCONT)

	all[second].kill()
	began = time.Now()
	e.exec(t, "UPDATE organizations SET name = '2'")
	e.eventsWithin(t, "organizations", 3, 5*time.Second)
	t.Logf("from one that is killed: %v", time.Since(began))
	e.wantVersions(t, 2)
}
