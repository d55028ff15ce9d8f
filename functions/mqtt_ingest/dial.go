package mqttingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"ponix/functions/internal/broker"
	"ponix/runtime/config"
)

// Config is what an operator may change.
type Config struct {
	CAFile string        `name:"mqtt-ca-file" type:"path" help:"File with certificates (PEM) of authorities that brokers' certificates may come from, besides the system's."`
	Lease  time.Duration `name:"mqtt-lease" default:"4s" help:"How long an instance keeps its gateways without a sign of life; whole seconds."`
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

// dial opens the connection under MQTT: TCP, TLS or a websocket.
func dial(ctx context.Context, b broker.Broker, roots *x509.CertPool, l *link) (*frames, error) {
	var conn net.Conn
	var err error
	var conf *tls.Config
	if b.TLS {
		conf = &tls.Config{ServerName: b.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	switch {
	case b.WebSocket != "":
		conn, err = dialWebSocket(ctx, b.WebSocket, conf)
	case b.TLS:
		conn, err = (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", b.Address)
	default:
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", b.Address)
	}
	if err != nil {
		return nil, err
	}
	return newFrames(conn, &l.held, l.fail), nil
}
