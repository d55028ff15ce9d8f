package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	goruntime "runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/credentials/insecure"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// idleVariable makes the test's program a crowd of clients of the address in it.
const idleVariable = "PONIX_TEST_IDLE"

// connections is how many clients the crowd has.
const connections = 10_000

// allowFiles raises the limit of open files of this process.
func allowFiles(want uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= want {
		return err
	}
	limit.Cur, limit.Max = want, max(limit.Max, want)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("%d open files are needed; raise the hard limit (ulimit -Hn): %w", want, err)
	}
	return nil
}

// crowd opens connections until its input ends, and tells of each thousand.
func crowd(addr string) error {
	if err := allowFiles(connections + 100); err != nil {
		return err
	}
	var all []net.Conn
	for i := range connections {
		c, err := idle(addr, true)
		if err != nil {
			return err
		}
		if all = append(all, c); (i+1)%1000 == 0 {
			fmt.Println(i + 1)
		}
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	for _, c := range all {
		c.Close() //nolint:errcheck // the test is over
	}
	return err
}

// idle opens a connection that says no more than it has to: with polite, the
// preface of HTTP/2 and the settings, and otherwise nothing.
func idle(addr string, polite bool) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil || !polite {
		return c, err
	}
	f := http2.NewFramer(c, c)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	if err := f.WriteSettings(); err != nil {
		return nil, err
	}
	_, err = f.ReadFrame() // the server's settings
	return c, err
}

func idleConn(t *testing.T, addr string, polite bool) net.Conn {
	t.Helper()
	c, err := idle(addr, polite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
	return c
}

// inUse is the bytes that this process's goroutines and values take.
func inUse() uint64 {
	var m goruntime.MemStats
	goruntime.GC()
	goruntime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestIdleConnections holds ten thousand idle connections to so much memory and so
// many goroutines each, while calls go on. It runs alone: it counts what the whole
// process has.
func TestIdleConnections(t *testing.T) {
	const maxBytes, maxGoroutines = 48 << 10, 4
	if err := allowFiles(connections + 1000); err != nil {
		t.Fatal(err)
	}
	client, s := serve(t, func(_ context.Context, req *organizationv1.GetOrganizationRequest) (*organizationv1.GetOrganizationResponse, error) {
		return &organizationv1.GetOrganizationResponse{Organization: &organizationv1.Organization{Id: req.OrganizationId}}, nil
	})
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := client.GetOrganization(ctx, get("o1"))
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	goroutines, before := goruntime.NumGoroutine(), inUse()
	clients := exec.Command(os.Args[0])
	clients.Env, clients.Stderr = append(os.Environ(), idleVariable+"="+s.Addr().String()), os.Stderr
	in, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	opened := "0"
	for lines := bufio.NewScanner(out); opened != fmt.Sprint(connections) && lines.Scan(); {
		opened = lines.Text()
		if err := call(); err != nil {
			t.Fatalf("with %s idle connections: %v", opened, err)
		}
	}
	if opened != fmt.Sprint(connections) {
		t.Fatalf("only %s connections: %v", opened, clients.Wait())
	}
	each, size := float64(goruntime.NumGoroutine()-goroutines)/connections, (int64(inUse())-int64(before))/connections
	t.Logf("each takes %d bytes and %.1f goroutines", size, each)
	if each > maxGoroutines || size > maxBytes {
		t.Errorf("each takes %d bytes and %.1f goroutines", size, each)
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	in.Close() //nolint:errcheck // which ends the clients
	if err := clients.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSilentConnections holds that who says nothing is sent away, and that who is
// gone without a word is noticed.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	addr := serveBridge(t, runtimetest.NATS(t), bridge.Config{Keepalive: time.Second}, insecure.NewCredentials()).Target()
	for name, polite := range map[string]bool{"no preface": false, "no answer to a ping": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := idleConn(t, addr, polite)
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("it is not closed: %v", err)
			}
		})
	}
}

// TestSlowCall holds that a call whose message never comes ends all the same, also
// where it has all the time that gRPC can tell.
func TestSlowCall(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][][2]string{"no deadline": nil, "a far one": {{"grpc-timeout", "99999999H"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serveBridge(t, runtimetest.NATS(t), bridge.Config{Timeout: time.Second, MaxTimeout: 2 * time.Second}, insecure.NewCredentials()).Target()
			slowCall(t, getRPC, idleConn(t, addr, true), more...)
		})
	}
}

// slowCall sends a part of a call, and returns when the call has ended.
func slowCall(t *testing.T, rpc string, c net.Conn, more ...[2]string) {
	t.Helper()
	f := http2.NewFramer(c, c)
	if err := f.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: callHeaders(rpc, more...)}); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteData(1, false, []byte{0, 0, 0, 0, 10, 1}); err != nil { // ten bytes are announced, one comes
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("the call does not end: %v", err)
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				return
			}
		case *http2.RSTStreamFrame:
			return
		case *http2.PingFrame:
			if err := f.WritePing(true, frame.Data); err != nil {
				t.Fatal(fmt.Errorf("ping: %w", err))
			}
		}
	}
}

// callHeaders are those of a gRPC call, as HPACK has them.
func callHeaders(rpc string, more ...[2]string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, h := range append([][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", rpc}, {":authority", "ponix"}, {"content-type", "application/grpc"}, {"te", "trailers"}}, more...) {
		e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) //nolint:errcheck // to a buffer
	}
	return b.Bytes()
}

// TestSettings holds that a connection has a bound of calls at a time, and a call one of headers.
func TestSettings(t *testing.T) {
	t.Parallel()
	c := idleConn(t, serveBridge(t, runtimetest.NATS(t), bridge.Config{}, insecure.NewCredentials()).Target(), false)
	f := http2.NewFramer(c, c)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("it begins with %v", frame)
	}
	for id, most := range map[http2.SettingID]uint32{http2.SettingMaxConcurrentStreams: 1000, http2.SettingMaxHeaderListSize: 64 << 10} {
		if is, bounded := settings.Value(id); !bounded || is > most {
			t.Errorf("%v is %d, want %d at most", id, is, most)
		}
	}
}
