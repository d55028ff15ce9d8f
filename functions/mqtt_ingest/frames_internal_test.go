package mqttingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// frame is a packet with that first byte.
func frame(kind byte, body string) string {
	return string(binary.AppendUvarint([]byte{kind}, uint64(len(body)))) + body
}

// TestFramesWithoutProperties holds that a PUBLISH of MQTT 5 whose properties make it too long is
// the same without them, and takes as much room; and that what cannot be one is refused.
func TestFramesWithoutProperties(t *testing.T) {
	t.Parallel()
	properties := frame(0, strings.Repeat("p", maxPacket))[1:] // with their length
	const ping = "\xd0\x00"
	read := func(in string) (string, int, error) {
		b := &budget{}
		f := newFrames(pipe{Reader: strings.NewReader(in)}, b, func(error) {})
		f.properties = true
		out, err := io.ReadAll(f)
		return string(out), b.held, err
	}
	for head, kind := range map[string]byte{"\x00\x03a/b": 0x30, "\x00\x03a/b\x00\x07": 0x32} { // with a packet id
		for _, payload := range []int{0, 100, 1 << 20} {
			body := head + "\x00" + strings.Repeat("x", payload)
			body = body[:min(len(body), maxPacket)]
			got, held, err := read(frame(kind, head+properties+strings.Repeat("x", payload)) + ping)
			if want := frame(kind, body) + ping; got != want || held != len(body) || err != nil {
				t.Errorf("QoS %d, a payload of %d: %d bytes, want %d, %d held, %v", kind>>1&3, payload, len(got), len(want), held, err)
			}
		}
		longer := string(binary.AppendUvarint(nil, 2*maxPacket)) + properties[3:]
		if _, _, err := read(frame(kind, head+longer) + strings.Repeat("p", maxPacket)); !errors.Is(err, errPacket) {
			t.Errorf("properties that are longer than their packet: %v", err)
		}
	}
}

// TestFramesAreWritten holds that a packet is written in one piece, and that the connection ends
// where it cannot be: also where the broker does not read.
func TestFramesAreWritten(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"silent": false, "gone": true} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close() //nolint:errcheck // it may be closed already
			f := newFrames(ours, &budget{}, func(error) {})
			packet := func(pieces ...string) {
				f.Lock()
				defer f.Unlock()
				for _, p := range pieces {
					io.WriteString(f, p) //nolint:errcheck // Unlock closes the connection
				}
			}
			read := make(chan string)
			for _, p := range []string{"ab", "cd"} {
				go func() {
					buf := make([]byte, 10)
					n, err := theirs.Read(buf)
					if err != nil {
						t.Error(err)
					}
					read <- string(buf[:n])
				}()
				packet(p[:1], p[1:])
				if got := <-read; got != p {
					t.Errorf("%q is written as %q", p, got)
				}
			}
			if gone {
				theirs.Close() //nolint:errcheck // it never fails
			}
			began := time.Now()
			packet("ef")
			if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) || time.Since(began) > writeTimeout {
				t.Errorf("%s: the connection is open after %v: %v", name, time.Since(began), err)
			}
		})
	}
}

// TestFramesAreLost holds that whoever uses a connection hears of its end: what the broker did, and
// of our own end after a moment, in which a Read ends that waits for room.
func TestFramesAreLost(t *testing.T) {
	t.Parallel()
	told := make(chan error, 10)
	for want, in := range map[error]io.Reader{errHungUp: bytes.NewReader(nil), os.ErrDeadlineExceeded: iotest.ErrReader(os.ErrDeadlineExceeded)} {
		newFrames(pipe{Reader: in}, &budget{}, func(err error) { told <- err }).Read(make([]byte, 1)) //nolint:errcheck // it is told of
		if lost := <-told; !errors.Is(lost, want) {
			t.Errorf("got %v, want %v", lost, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 10)
		ours, theirs := net.Pipe()
		defer theirs.Close() //nolint:errcheck // the test is over
		f := newFrames(ours, &budget{held: maxHeld + 1}, func(err error) { told <- err })
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			io.ReadAll(f) //nolint:errcheck // that it ends is enough
		}()
		io.WriteString(theirs, frame(0x30, "")) //nolint:errcheck // likewise
		synctest.Wait()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		<-ended
		time.Sleep(2 * closeTimeout)
		var last error
		for len(told) > 0 {
			last = <-told
		}
		if !errors.Is(last, net.ErrClosed) {
			t.Errorf("the end is told as %v", last)
		}
	})
}
