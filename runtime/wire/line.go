package wire

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
)

// maxIdle is how many lines stay when there is nothing to ask.
const maxIdle = 256

// line is a subscription for the answers to one call after the other. The connection
// puts an answer straight into the channel that the caller waits on; nats.go's own
// requests share a subscription, and a goroutine that finds whose answer it is.
type line struct {
	sub    *nats.Subscription
	prefix string
	round  uint64 // tells an answer from a second one to a call before
	in     chan *nats.Msg
}

// request sends msg, and returns what is answered first: an error of nats.go, or of
// ctx.
func (c *Client) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := c.line()
	if err != nil {
		return nil, err
	}
	answer, err := l.ask(ctx, c.conn, msg)
	c.hangUp(l, err == nil)
	if err == nil && NobodyAnswers(answer) {
		return nil, nats.ErrNoResponders
	}
	return answer, err
}

// NobodyAnswers tells whether m is what the server sends where nobody listens to what was
// asked: no payload, and the status 503.
func NobodyAnswers(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }

func (l *line) ask(ctx context.Context, conn *nats.Conn, msg *nats.Msg) (*nats.Msg, error) {
	l.round++
	var room [80]byte
	msg.Reply = string(strconv.AppendUint(append(room[:0], l.prefix...), l.round, 36))
	if err := conn.PublishMsg(msg); err != nil {
		return nil, err
	}
	for {
		select {
		case m := <-l.in:
			if m.Subject == msg.Reply {
				return m, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// line returns one that nobody uses.
func (c *Client) line() (*line, error) {
	c.mu.Lock()
	if last := len(c.idle) - 1; last >= 0 {
		l := c.idle[last]
		c.idle = c.idle[:last]
		c.mu.Unlock()
		return l, nil
	}
	c.mu.Unlock()
	l := &line{prefix: c.conn.NewInbox() + ".", in: make(chan *nats.Msg, 8)}
	var err error
	l.sub, err = c.conn.ChanSubscribe(l.prefix+"*", l.in)
	return l, err
}

// hangUp keeps a line for the next call, unless its answer may still come.
func (c *Client) hangUp(l *line, answered bool) {
	if answered {
		c.mu.Lock()
		keep := len(c.idle) < maxIdle
		if keep {
			c.idle = append(c.idle, l)
		}
		c.mu.Unlock()
		if keep {
			return
		}
	}
	l.sub.Unsubscribe() //nolint:errcheck // the connection may be gone, and the subscription with it
}
