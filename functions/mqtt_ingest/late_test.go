package mqttingest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// TestLateAnswerIsNobodysTrouble has JetStream not answer what a connection has published
// that is gone: the next one has the message again, and the gateway's state is about that.
func TestLateAnswerIsNobodysTrouble(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	asked, err := nc.SubscribeSync("silent") // who does not answer
	if err != nil {
		t.Fatal(err)
	}
	out, err := runtime.NewPublisher(nc, 1, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := &session{out: out, owned: func() bool { return true }, status: &status{}}
	l := newLink(nil)
	s.publish(l, nats.NewMsg("silent"), &delivery{stored: make(chan struct{})}, 1)
	if _, err := asked.NextMsg(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.fail(errHungUp)
	s.status.connected() // again
	given := make(chan error, 1)
	out.Publish(nats.NewMsg("silent"), func(err error) { given <- err }) // when there is room: after the first
	if err := <-given; err == nil {
		t.Fatal("it was answered")
	}
	if s.status.lastError != "" {
		t.Errorf("the state says %q", s.status.lastError)
	}
}
