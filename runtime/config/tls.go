package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificateAge is how long a certificate's files are not looked at again.
const certificateAge = time.Second

// certificate is a pair of files that is read again when either has changed.
type certificate struct {
	cert, key string

	mu      sync.Mutex
	looked  time.Time
	changed [2]time.Time
	pair    *tls.Certificate
	renewal renewal
}

// get returns the certificate as it was a second ago at most. While its files
// cannot be used, the one before stays good, and the log says so; without one, that is the error.
func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && time.Since(c.looked) < certificateAge {
		return c.pair, nil
	}
	c.looked = time.Now()
	var changed [2]time.Time
	for i, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			changed[i] = info.ModTime()
		}
	}
	if c.pair != nil && changed == c.changed {
		c.renewal.tell(nil)
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil && c.pair == nil {
		return nil, err
	}
	if err != nil {
		err = fmt.Errorf("%s, %s: %w", c.cert, c.key, err)
	} else {
		c.pair, c.changed = &pair, changed
	}
	c.renewal.tell(err)
	return c.pair, nil
}

// authorities reads a file of certificates.
func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New(file + " holds no certificate in PEM")
	}
	return pool, nil
}

// serverTLS is how a server proves what it is, and, with a CA, has its clients
// do the same. The prefix is that of the variables, for errors.
func serverTLS(prefix, cert, key, clientCA string) (*tls.Config, error) {
	c := &certificate{cert: cert, key: key}
	if _, err := c.get(); err != nil {
		return nil, &Error{prefix + "_CERT", err}
	}
	out := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() },
	}
	if clientCA == "" {
		return out, nil
	}
	clients, err := Renewed(func() (*x509.CertPool, error) { return authorities(clientCA) })
	if err != nil {
		return nil, &Error{prefix + "_CLIENT_CA", err}
	}
	out.ClientAuth = tls.RequireAndVerifyClientCert
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := out.Clone()
		now.ClientCAs = clients()
		return now, nil
	}
	return out, nil
}

// clientTLS is how a client knows its server, by the system's authorities where
// there is no CA, and proves what it is.
func clientTLS(prefix, ca, cert, key string) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pool, err := authorities(ca)
		if err != nil {
			return nil, &Error{prefix + "_CA", err}
		}
		out.RootCAs = pool
	}
	if cert == "" && key == "" {
		return out, nil
	}
	c := &certificate{cert: cert, key: key}
	if _, err := c.get(); err != nil {
		return nil, &Error{prefix + "_CERT", err}
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.get() }
	return out, nil
}
