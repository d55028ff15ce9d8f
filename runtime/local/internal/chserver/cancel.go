package chserver

import (
	"errors"
	"os"
	"time"

	"github.com/ClickHouse/ch-go/proto"
)

// killEvery is the time between two KILL QUERY: one that comes before the engine has registered
// the query finds nothing.
const killEvery = 50 * time.Millisecond

// watch kills the running query if the client cancels it or goes away. The caller reads nothing
// from the connection until it has called stop.
func (c *session) watch() (stop func()) {
	finished, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		next, err := c.buffered.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // stop was called
		}
		if err == nil && proto.ClientCode(next[0]) != proto.ClientCodeCancel {
			return // the next statement, early
		}
		tick := time.NewTicker(killEvery)
		defer tick.Stop()
		for {
			c.server.kill(c.id)
			select {
			case <-finished:
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(finished)
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		<-watched
		_ = c.conn.SetReadDeadline(time.Time{})
	}
}
