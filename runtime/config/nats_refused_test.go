package config_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestSubscriptionsAreGivenBack has a server take away what a user may subscribe to, and give it
// back, while it is connected: who listens hears again, alone or in a queue, and who asks
// gets answers. What stays refused is told once, and keeps nobody from the rest.
func TestSubscriptionsAreGivenBack(t *testing.T) {
	t.Parallel()
	var options *server.Options
	refusing := func(subjects ...string) []*server.User {
		u := &server.User{Username: "u", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: append(subjects, "never")}}}
		return []*server.User{u, {Username: "other"}}
	}
	srv := runtimetest.NATSServer(t, func(o *server.Options) { o.Users, options = refusing(), o })
	reload := func(subjects ...string) {
		o := options.Clone()
		o.Users = refusing(subjects...)
		if err := srv.ReloadOptions(o); err != nil {
			t.Fatal(err)
		}
	}
	var log runtimetest.Text
	nc, err := config.NATS{URL: srv.ClientURL(), Username: "u"}.Connect(t.Context(), "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	other := runtimetest.Connect(t, srv, nats.UserInfo("other", ""))
	echo := func(m *nats.Msg) { m.Respond(nil) } //nolint:errcheck // who asks sees it
	_, err = nc.Subscribe("alone", echo)
	_, err2 := nc.QueueSubscribe("shared", "q", echo)
	_, err3 := nc.Subscribe("never", echo)
	_, err4 := other.Subscribe("other", echo)
	if err := errors.Join(err, err2, err3, err4, nc.Flush(), other.Flush()); err != nil {
		t.Fatal(err)
	}
	ask := map[string]*nats.Conn{"alone": other, "shared": other, "other": nc}
	answered := func() error {
		for subject, from := range ask {
			if _, err := from.Request(subject, nil, time.Second); err != nil {
				return errors.New(subject + ": " + err.Error())
			}
		}
		return nil
	}
	if err := answered(); err != nil {
		t.Fatal(err)
	}
	reload("alone", "shared", "_INBOX_u.>")
	for subject, from := range ask {
		if _, err := from.Request(subject, nil, 100*time.Millisecond); err == nil {
			t.Errorf("%s: there is an answer without the permission", subject)
		}
	}
	reload()
	runtimetest.Eventually(t, 30*time.Second, answered)
	if n := strings.Count(log.String(), `Subscription to \"never\"`); n < 1 || n > 2 { // with each connection
		t.Errorf("%d lines of what is never allowed:\n%s", n, log.String())
	}
}
