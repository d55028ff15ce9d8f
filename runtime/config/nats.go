package config

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"golang.org/x/time/rate"
)

// NATS is the server or cluster that everything goes through.
type NATS struct {
	URL          string `name:"nats-url" default:"${nats_url=nats://localhost:4222}" help:"NATS servers, comma separated."`
	Creds        string `name:"nats-creds" type:"path" help:"File with NATS credentials."`
	Username     string `name:"nats-username" help:"NATS user; the password is PONIX_NATS_PASSWORD or in the file below."`
	PasswordFile string `name:"nats-password-file" type:"path" help:"File with the NATS user's password; each new connection reads it."`
	CA           string `name:"nats-ca" type:"path" help:"File with the authorities that a NATS server is known by; with it, or with tls:// in the URL, nothing goes in the clear."`
	Cert         string `name:"nats-cert" type:"path" help:"File with the client's certificate for NATS."`
	Key          string `name:"nats-key" type:"path" help:"File with the key of that certificate."`
	InboxPrefix  string `name:"nats-inbox-prefix" help:"What the subjects of replies start with, so that a user can be kept from reading another's; default _INBOX_<user> with a user, and _INBOX without."`
}

// natsTimeout bounds how long a server takes to be connected to, and to greet.
const natsTimeout = 5 * time.Second

// A server that leaves so many pings unanswered is taken for gone with the next.
const (
	pingInterval    = 5 * time.Second
	pingsUnanswered = 2
)

// inboxPrefix is what a subject can start with.
var inboxPrefix = regexp.MustCompile(`^[^\s.*>]+(\.[^\s.*>]+)*$`)

// check is an error where no server can have the address, for which a process would wait
// for ever. What cannot be read as a URL is left to the client.
func (c NATS) check() error {
	servers := 0
	for address := range strings.SplitSeq(c.URL, ",") {
		address = strings.TrimSpace(address)
		if address == "" {
			continue
		}
		servers++
		if !strings.Contains(address, "://") {
			address = "nats://" + address
		}
		u, err := url.Parse(address)
		if err != nil {
			continue
		}
		port := cmp.Or(u.Port(), "4222")
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return &Error{"PONIX_NATS_URL", fmt.Errorf("has the port %s: there are 1 to 65535", port)}
		}
		if strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "[") {
			return &Error{"PONIX_NATS_URL", errors.New("has an IPv6 address without brackets: write nats://[::1]:4222")}
		}
	}
	if servers == 0 {
		return &Error{"PONIX_NATS_URL", errors.New("is empty")}
	}
	return nil
}

// options are those of every connection.
func (c NATS) options(name string) ([]nats.Option, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	opts := []nats.Option{
		nats.Name(name), nats.Timeout(natsTimeout),
		nats.SetCustomDialer(&gatheringDialer{net.Dialer{Timeout: natsTimeout}}),
	}
	if c.Creds != "" {
		data, err := os.ReadFile(c.Creds)
		if err != nil {
			return nil, &Error{"PONIX_NATS_CREDS", err}
		}
		if _, err := nkeys.ParseDecoratedUserNKey(data); err != nil { // the client would try for ever
			return nil, &Error{"PONIX_NATS_CREDS", fmt.Errorf("%s has no credentials of a NATS user: %w", c.Creds, err)}
		}
		// Without a JWT, which begins with {" in base64, the client would send the seed in its place.
		if jwt, err := nkeys.ParseDecoratedJWT(data); err != nil || !strings.HasPrefix(jwt, "eyJ") {
			return nil, &Error{"PONIX_NATS_CREDS", fmt.Errorf("%s has the seed of a NATS user, and not the JWT that credentials have before it", c.Creds)}
		}
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	password, err := Renewed(func() (string, error) { return secret("NATS_PASSWORD", c.PasswordFile, "") })
	if err != nil {
		return nil, err
	}
	inbox := c.InboxPrefix
	switch {
	case c.Username == "" && password() != "":
		return nil, &Error{"PONIX_NATS_USERNAME", errors.New("is needed where PONIX_NATS_PASSWORD, or its file, is set: a password without a user is of no use")}
	case c.Username != "":
		opts = append(opts, nats.UserInfoHandler(func() (string, string) { return c.Username, password() }))
		if inbox == "" {
			inbox = nats.InboxPrefix[:len(nats.InboxPrefix)-1] + "_" + c.Username
		}
	}
	if inbox != "" {
		if !inboxPrefix.MatchString(inbox) {
			return nil, &Error{"PONIX_NATS_INBOX_PREFIX", fmt.Errorf("must be words with dots between, without spaces, '*' and '>': %q", inbox)}
		}
		opts = append(opts, nats.CustomInboxPrefix(inbox))
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, &Error{"PONIX_NATS_CERT", errors.New("a certificate needs its key, PONIX_NATS_KEY, and the other way round")}
	}
	own := newCertificate("PONIX_NATS_CERT", c.Cert, c.Key)
	if _, err := clientTLS("PONIX_NATS", c.CA, own); err != nil {
		return nil, err
	}
	if own != nil { // before the authorities, which this option would forget
		opts = append(opts, nats.ClientTLSConfig(func() (tls.Certificate, error) { pair, err := own.get(); return *pair, err }, nil))
	}
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	return opts, nil
}

// Dial connects for one command, and fails where no server answers, or when ctx is done.
func (c NATS) Dial(ctx context.Context, name string) (*nats.Conn, error) {
	opts, err := c.options(name)
	if err != nil {
		return nil, err
	}
	done := make(chan func() (*nats.Conn, error), 1)
	go func() { // it takes five seconds for each server that is silent, and knows no context
		nc, err := nats.Connect(c.URL, opts...)
		done <- func() (*nats.Conn, error) { return nc, err }
	}()
	var nc *nats.Conn
	select {
	case dialled := <-done:
		nc, err = dialled()
	case <-ctx.Done(): // the process ends
		return nil, context.Cause(ctx)
	}
	if err == nil {
		return nc, nil
	}
	if errors.As(err, new(*url.Error)) {
		return nil, &Error{"PONIX_NATS_URL", withoutURL(err)}
	}
	if errors.Is(err, nats.ErrNoServers) {
		err = fmt.Errorf("%w: `ponix up` may not be running, or PONIX_NATS_URL may name another place", err)
	}
	return nil, fmt.Errorf("NATS at %s: %w", c.Redacted(), natsHinted(err))
}

// Connect waits until a server answers or ctx is done, and then stays connected
// through any outage.
func (c NATS) Connect(ctx context.Context, name string, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	standard, err := c.options(name)
	if err != nil {
		return nil, err
	}
	often := rate.NewLimiter(1, 20) // what a user may not do may be tried with each message
	refused := &refusals{log: log, rounds: map[subscription]int{}}
	connected, away := make(chan struct{}, 1), &absence{url: c.Redacted(), log: log, failed: make(chan error, 1)}
	opts = append(append(standard,
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a password that is being changed is an outage, too
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.ReconnectBufSize(-1), // nothing is accepted that may be lost
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsUnanswered),
		nats.ConnectHandler(func(*nats.Conn) { connected <- struct{}{} }),
		nats.ReconnectErrHandler(away.note),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			refused.forget()
			if err != nil {
				log.Warn("NATS is disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("NATS is connected again", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			if !refused.note(nc, err) && often.Allow() {
				log.Warn("NATS", "error", err)
			}
		}),
	), opts...)
	nc, err := nats.Connect(c.URL, opts...)
	if err != nil {
		return nil, &Error{"PONIX_NATS_URL", withoutURL(err)}
	}
	if !nc.IsConnected() {
		if err := away.wait(ctx, nc, connected); err != nil {
			nc.Close()
			return nil, fmt.Errorf("NATS at %s did not answer: %w", c.Redacted(), err)
		}
	}
	go away.watch(nc, nc.StatusChanged(nats.CLOSED))
	return nc, nil
}

// Redacted is the URL without its passwords, for people.
func (c NATS) Redacted() string { return redact(c.URL) }

// redact removes passwords and tokens from a list of URLs.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "@") {
			continue
		}
		u, err := url.Parse(s)
		if err != nil || u.User == nil {
			list[i] = "(an address that cannot be shown)"
			continue
		}
		if _, has := u.User.Password(); !has { // NATS takes a user alone for a token
			u.User = url.User("xxxxx")
		}
		list[i] = u.Redacted()
	}
	return strings.Join(list, ",")
}

// withoutURL is an error without the URL that it quotes, password included. What is
// wrong with it may be a part of the password, too: that of a:b/c ends a host.
func withoutURL(err error) error {
	if errors.As(err, new(*url.Error)) {
		return errors.New("is no URL that can be read; in a password, write all but letters and digits as %XX")
	}
	return err
}
