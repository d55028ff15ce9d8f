package mqttingest_test

import (
	"io"
	"net"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// TestStopBesideSilentBroker stops an instance that waits for a broker which takes the
// connection and says nothing.
func TestStopBesideSilentBroker(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 10)
			at := runtimetest.Listen(t, func(c net.Conn) {
				if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
					asked <- struct{}{}
				}
				<-t.Context().Done()
			})
			e := start(t)
			h := e.instance(t)
			e.gateway(t, "create", "g1", scheme+"://"+at)
			<-asked
			began := time.Now()
			if err := h.Stop(); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("it took %v, %v", time.Since(began), err)
			}
		})
	}
}
