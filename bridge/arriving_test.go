package bridge_test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"ponix/bridge"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// TestMessagesThatDoNotEnd has a caller begin many large messages and end none: some of
// them are read, the others wait, as do his own further calls, and nobody else's.
func TestMessagesThatDoNotEnd(t *testing.T) {
	t.Parallel()
	const begun, read = 200, 64 + 8 // of 8 MiB each
	conn := guarded(t, bridge.Config{Timeout: time.Minute}, insecure.NewCredentials())
	organizations := organizationv1.NewOrganizationServiceClient(conn)
	mallory := bearer(t, "mallory", "o1", "member")
	md, _ := metadata.FromOutgoingContext(mallory)
	c := idleConn(t, conn.Target(), true)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(begun) {
		headers := callHeaders(getRPC, [2]string{"authorization", md.Get("authorization")[0]})
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, EndHeaders: true, BlockFragment: headers}); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteData(2*i+1, false, []byte{0, 0, 0x7f, 0xff, 0xff}); err != nil { // so long is the message
			t.Fatal(err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	reads := map[uint32]bool{} // the streams that may send more, since somebody reads them
	follow := func(until func(http2.Frame) bool) {
		t.Helper()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("%d messages are read: %v", len(reads), err)
			}
			if w, ok := frame.(*http2.WindowUpdateFrame); ok && w.StreamID > 0 {
				reads[w.StreamID] = true
			}
			if until(frame) {
				return
			}
		}
	}
	follow(func(http2.Frame) bool { return len(reads) >= read })
	if _, err := organizations.GetOrganization(bearer(t, "ada", "o1", "member"), get("o1")); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	ctx, cancel := context.WithTimeout(mallory, 100*time.Millisecond)
	defer cancel()
	if _, err := organizations.GetOrganization(ctx, get("o1")); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("his own: %v", err)
	}
	if err := f.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	follow(func(frame http2.Frame) bool { p, ok := frame.(*http2.PingFrame); return ok && p.IsAck() })
	if len(reads) != read {
		t.Errorf("%d messages are read, want %d", len(reads), read)
	}
	c.Close() //nolint:errcheck // which gives the calls up
	runtimetest.Eventually(t, 10*time.Second, func() error {
		ctx, cancel := context.WithTimeout(mallory, time.Second)
		defer cancel()
		_, err := organizations.GetOrganization(ctx, get("o1"))
		return err
	})
}
