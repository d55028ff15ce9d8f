package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
)

// absence tells the log why NATS does not answer, again and again until it does: the client
// tries for ever, and says nothing.
type absence struct {
	url    string // for people
	log    *slog.Logger
	failed chan error // of the last attempts
	last   error
}

// remindEach is how often it is told while a process starts.
const remindEach = 5 * time.Second

// note takes the error of an attempt.
func (a *absence) note(_ *nats.Conn, err error) {
	if errors.Is(err, nats.ErrNoServers) { // of the first try, whose cause it hides
		return
	}
	select {
	case a.failed <- err:
	default: // nobody waits
	}
}

// cause is what the last attempt failed with, nil where that is not known.
func (a *absence) cause(nc *nats.Conn) error {
	return natsHinted(cmp.Or(nc.LastError(), a.last))
}

// natsHinted is the error of a connection that was not made, with what to look at.
func natsHinted(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "read" && op.Timeout() {
		return fmt.Errorf("%w: who took the connection says nothing, and may be no NATS server (PONIX_NATS_URL)", err)
	}
	return about(err, "PONIX_NATS_CA", "PONIX_NATS_CERT")
}

func (a *absence) waiting(nc *nats.Conn) {
	a.log.Warn("waiting for NATS", "url", a.url, "error", a.cause(nc))
}

// wait returns when there is the first connection, or an error when ctx is done.
func (a *absence) wait(ctx context.Context, nc *nats.Conn, connected <-chan struct{}) error {
	remind := time.NewTicker(remindEach)
	defer remind.Stop()
	for {
		select {
		case <-connected:
			return nil
		case err := <-a.failed:
			first := a.last == nil
			if a.last = err; first {
				a.waiting(nc)
			}
		case <-remind.C:
			a.waiting(nc)
		case <-ctx.Done():
			return cmp.Or(a.cause(nc), ctx.Err())
		}
	}
}

// watch tells of absences until the connection is closed: not of those that are over at once,
// as when one of several servers restarts, and of the others once a minute.
func (a *absence) watch(nc *nats.Conn, closed chan nats.Status) {
	defer nc.RemoveStatusListener(closed)
	look := time.NewTicker(remindEach)
	defer look.Stop()
	for looks := 0; ; {
		select {
		case <-closed:
			return
		case a.last = <-a.failed:
		case <-look.C:
			if looks++; nc.IsConnected() {
				looks, a.last = 0, nil
			}
			if looks == 2 || looks%12 == 0 && looks > 0 {
				a.waiting(nc)
			}
		}
	}
}
