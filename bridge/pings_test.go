package bridge_test

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials/insecure"

	"ponix/bridge"
	"ponix/runtime/runtimetest"
)

// TestPings holds that a client may ask now and then whether the bridge is there, as those
// behind a balancer that ends silent connections do, and that one who does without end is
// sent away.
func TestPings(t *testing.T) {
	t.Parallel()
	addr := serveBridge(t, runtimetest.NATS(t), bridge.Config{Keepalive: 3 * time.Second}, insecure.NewCredentials()).Target()
	for name, test := range map[string]struct {
		every time.Duration
		pings int
		stays bool
	}{"now and then": {time.Second, 5, true}, "a flood": {time.Millisecond, 100, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := idleConn(t, addr, true)
			f := http2.NewFramer(c, c)
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			next := time.NewTicker(test.every)
			defer next.Stop()
			stays := true
			for i := 0; i < test.pings && stays; i++ {
				<-next.C
				stays = f.WritePing(false, [8]byte{byte(i)}) == nil && answered(f, byte(i))
			}
			if stays != test.stays {
				t.Errorf("it stays: %v", stays)
			}
		})
	}
}

// answered reads until the answer to a ping, or until the connection ends.
func answered(f *http2.Framer, ping byte) bool {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return false
		}
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			return false
		case *http2.PingFrame:
			if frame.IsAck() {
				if frame.Data[0] == ping {
					return true
				}
			} else if f.WritePing(true, frame.Data) != nil {
				return false
			}
		}
	}
}
