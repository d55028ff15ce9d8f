package config

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
)

// GRPC is where the bridge listens, and how.
type GRPC struct {
	Host        string  `name:"grpc-host" default:"localhost" help:"Address that the bridge listens on."`
	Port        uint16  `name:"grpc-port" default:"50051" help:"Port that the bridge listens on."`
	TLSCert     string  `name:"grpc-tls-cert" type:"path" help:"File with the bridge's certificate; with it, gRPC is TLS only. Read again when it changes."`
	TLSKey      string  `name:"grpc-tls-key" type:"path" help:"File with the key of that certificate."`
	TLSClientCA string  `name:"grpc-tls-client-ca" type:"path" help:"File with the authorities that clients must have a certificate of (mutual TLS)."`
	Rate        float64 `name:"grpc-rate" default:"0" help:"Calls a second of each caller: of each token's subject, or of each address where there is no token; 0: any number."`
	Burst       int     `name:"grpc-burst" default:"0" help:"Calls that a caller may make at once; 0: as many as in a second."`
	Reflection  bool    `name:"grpc-reflection" help:"List the services to anybody although authentication is on."`
}

// Address is host:port, of that port. An IPv6 address may have brackets.
func (c GRPC) Address(port int) string {
	return net.JoinHostPort(strings.Trim(c.Host, "[]"), strconv.Itoa(port))
}

// TLS is how the bridge proves what it is, nil for plaintext.
func (c GRPC) TLS() (*tls.Config, error) {
	switch {
	case c.TLSCert == "" && c.TLSKey == "" && c.TLSClientCA == "":
		return nil, nil
	case c.TLSCert == "":
		return nil, &Error{"PONIX_GRPC_TLS_CERT", errors.New("is missing: PONIX_GRPC_TLS_KEY and PONIX_GRPC_TLS_CLIENT_CA need it")}
	case c.TLSKey == "":
		return nil, &Error{"PONIX_GRPC_TLS_KEY", errors.New("is missing: PONIX_GRPC_TLS_CERT needs it")}
	}
	return serverTLS("PONIX_GRPC_TLS", c.TLSCert, c.TLSKey, c.TLSClientCA)
}

// Auth is how callers prove who they are. It is off while there is neither a key
// set nor a secret.
type Auth struct {
	JWKS       string `name:"auth-jwks" help:"JSON Web Key Set that tokens (RS256, EdDSA) are checked with: a file, or an https URL."`
	SecretFile string `name:"auth-secret-file" type:"path" help:"File with the secret that tokens (HS256) are checked with, 32 bytes at least, read again when it changes; or PONIX_AUTH_SECRET."`
	Issuer     string `name:"auth-issuer" help:"What the claim iss of a token must be; empty: anything."`
	Audience   string `name:"auth-audience" help:"What the claim aud of a token must hold; empty: anything."`
}

// Secret is PONIX_AUTH_SECRET, or what the file holds; nil where neither is set.
func (c Auth) Secret() ([]byte, error) {
	s, ok, err := lookupSecret("AUTH_SECRET", c.SecretFile)
	if !ok || err != nil {
		return nil, err
	}
	if s == "" { // by mistake: it would leave the door open
		return nil, &Error{"PONIX_AUTH_SECRET", errors.New("is empty")}
	}
	return []byte(s), nil
}

// On tells whether authentication is configured.
func (c Auth) On() (bool, error) {
	s, err := c.Secret()
	if err != nil {
		return false, err
	}
	on := len(s) > 0 || c.JWKS != ""
	for _, variable := range []string{"PONIX_AUTH_JWKS", "PONIX_AUTH_SECRET_FILE"} {
		if _, set := os.LookupEnv(variable); set && !on { // to nothing, by mistake
			return false, &Error{variable, errors.New("is empty")}
		}
	}
	if !on && c.Issuer+c.Audience != "" {
		return false, &Error{"PONIX_AUTH_JWKS", errors.New("is missing, and so is PONIX_AUTH_SECRET: an issuer or an audience alone checks nothing")}
	}
	return on, nil
}
