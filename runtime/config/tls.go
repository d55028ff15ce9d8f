package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateAge is how long a certificate's files are not looked at again.
const certificateAge = time.Second

// certificate is a pair of files that is read again when either has changed.
type certificate struct {
	variable  string // of the first
	cert, key string

	mu       sync.Mutex
	looked   time.Time
	changed  [2]time.Time
	pair     *tls.Certificate
	renewal  renewal
	validity validity
}

// newCertificate returns nil where there is none.
func newCertificate(variable, cert, key string) *certificate {
	if cert == "" && key == "" {
		return nil
	}
	return &certificate{variable: variable, cert: cert, key: key}
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
		c.validity.tell(c.variable, c.cert, c.pair)
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
	c.validity.tell(c.variable, c.cert, c.pair)
	return c.pair, nil
}

// soon is how long before its end a certificate is told of; of one that is made for days or
// hours, the last quarter.
const soon = 7 * 24 * time.Hour

// validity is what the log was told of a certificate, whose other end only sees that it is
// bad.
type validity struct {
	told string
	of   time.Time
}

// tell has the log tell, once, that a certificate has expired, or soon will have.
func (v *validity) tell(variable, file string, pair *tls.Certificate) {
	leaf, what := pair.Leaf, ""
	switch left := time.Until(leaf.NotAfter); {
	case left <= 0:
		what = "a certificate has expired"
	case left < min(soon, leaf.NotAfter.Sub(leaf.NotBefore)/4):
		what = "a certificate expires soon"
	}
	if what != "" && (what != v.told || !leaf.NotAfter.Equal(v.of)) {
		slog.Warn(what, "variable", variable, "file", file, "at", leaf.NotAfter)
	}
	v.told, v.of = what, leaf.NotAfter
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
	c := newCertificate(prefix+"_CERT", cert, key)
	if _, err := c.get(); err != nil {
		return nil, &Error{c.variable, err}
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
// there is no CA, and proves what it is, where own is not nil.
func clientTLS(prefix, ca string, own *certificate) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pool, err := authorities(ca)
		if err != nil {
			return nil, &Error{prefix + "_CA", err}
		}
		out.RootCAs = pool
	}
	if own == nil {
		return out, nil
	}
	if _, err := own.get(); err != nil {
		return nil, &Error{own.variable, err}
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() }
	return out, nil
}
