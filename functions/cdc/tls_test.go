package cdc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ponix/runtime/runtimetest"
)

// The replication connection has the TLS that the pool's have.
func TestTLS(t *testing.T) {
	t.Parallel()
	pg := startServer(t)
	plain := newEnvOn(t, pg.dsn)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	plain.useTLS(t, ca)
	u, err := url.Parse(pg.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {ca}}.Encode()
	e := newEnvOn(t, u.String())
	e.instance(t)
	e.streaming(t)
	if !e.truth(t, "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)") {
		t.Error("the replication connection has no TLS")
	}
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'acme')")
	e.events(t, "organizations", 1)
}

// useTLS gives the server a certificate, and writes it to the file, too.
func (e *env) useTLS(t *testing.T, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	if err := os.WriteFile(file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	// Written by the server itself, which wants to own its key.
	for name, data := range map[string][]byte{"server.crt": public, "server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		e.exec(t, fmt.Sprintf("COPY (SELECT '%s') TO PROGRAM 'umask 077; base64 -d > %s'", base64.StdEncoding.EncodeToString(data), name))
	}
	e.exec(t, "ALTER SYSTEM SET ssl = on")
	e.exec(t, "SELECT pg_reload_conf()")
	runtimetest.Eventually(t, 10*time.Second, func() error {
		if !e.truth(t, "SELECT current_setting('ssl') = 'on'") {
			return errNotYet
		}
		return nil
	})
}
