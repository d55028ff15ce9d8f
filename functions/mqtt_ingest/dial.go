package mqttingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"syscall"
	"time"

	"ponix/functions/internal/broker"
	"ponix/runtime/config"
)

// Config is what an operator may change.
type Config struct {
	CAFile string        `name:"mqtt-ca-file" type:"path" help:"File with certificates (PEM) of authorities that brokers' certificates may come from, besides the system's."`
	Lease  time.Duration `name:"mqtt-lease" default:"4s" help:"How long an instance keeps its gateways without a sign of life; whole seconds."`
	Public bool          `name:"mqtt-public-brokers" help:"Connect to brokers at public addresses alone, so that no tenant's gateway reaches this machine or the network that it is in."`
}

// connectTimeout is how long a broker may take until it has accepted a session.
const connectTimeout = 10 * time.Second

// roots are the authorities that brokers' certificates may come from; nil for
// the system's alone.
func (c Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, &config.Error{Variable: "PONIX_MQTT_CA_FILE", Cause: err}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &config.Error{Variable: "PONIX_MQTT_CA_FILE", Cause: fmt.Errorf("%s: there is no certificate in it", c.CAFile)}
	}
	return pool, nil
}

// Check names the variable that has a value which cannot work.
func (c Config) Check() error {
	_, err := c.roots()
	return err
}

// dialer opens connections to brokers.
type dialer struct {
	net.Dialer
	roots func() *x509.CertPool
	proxy func(*http.Request) (*url.URL, error) // of websockets; nil: none
}

func (c Config) dialer() (*dialer, error) {
	roots, err := config.Renewed(c.roots)
	if err != nil {
		return nil, err
	}
	d := &dialer{roots: roots, proxy: http.ProxyFromEnvironment}
	if c.Public { // where a proxy goes to is not seen from here
		d.Control, d.proxy = onlyPublic, nil
	}
	return d, nil
}

// open opens the connection under MQTT: TCP, TLS or a websocket.
func (d *dialer) open(ctx context.Context, b broker.Broker, l *link) (*frames, error) {
	var conn net.Conn
	var err error
	var conf *tls.Config
	if b.TLS {
		conf = &tls.Config{ServerName: b.Host, RootCAs: d.roots(), MinVersion: tls.VersionTLS12}
	}
	switch {
	case b.WebSocket != "":
		conn, err = d.webSocket(ctx, b.WebSocket, conf)
	case b.TLS:
		conn, err = (&tls.Dialer{NetDialer: &d.Dialer, Config: conf}).DialContext(ctx, "tcp", b.Address)
	default:
		conn, err = d.DialContext(ctx, "tcp", b.Address)
	}
	if err != nil {
		return nil, err
	}
	return newFrames(conn, &l.held, l.fail), nil
}

// special are the addresses that are nobody's in the public Internet, or hold another
// one (the IANA's registries of special-purpose addresses, RFC 6890), beside those that
// netip knows.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

func public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// onlyPublic refuses an address to which a name has been resolved already: whose name it
// is may not answer one thing when it is looked at and another when it is used.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err == nil && !public(at.Addr().WithZone("")) {
		err = fmt.Errorf("%s is no public address, and PONIX_MQTT_PUBLIC_BROKERS takes no other", at.Addr())
	}
	return err
}
