// Package token tells who a caller is by the JSON Web Token (RFC 7519) that it
// brings.
//
// A token has the claims sub, exp, role (admin, member or device) and, unless
// the role is admin, organization_id. It is signed with HS256 by a shared secret,
// or with RS256 or EdDSA by a key of a JSON Web Key Set (RFC 7517).
package token

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"

	"ponix/runtime/wire"
)

// Config is what tokens are held to. There must be a key set or a secret; with
// both, each is good for its own algorithms.
type Config struct {
	JWKS     string                 // file, or https URL, of the key set
	Secret   []byte                 // for HS256, 32 bytes at least
	Renew    func() ([]byte, error) // reads the secret again, once a second at most; nil: it stays
	Issuer   string                 // that the claim iss must be; empty: any
	Audience string                 // that the claim aud must hold; empty: any
	Logger   *slog.Logger           // default slog.Default()
}

// MinSecret is how many bytes a secret has at least (RFC 7518, section 3.2).
const MinSecret = 32

const (
	minRSA   = 2048 // bits, RFC 7518, section 3.3
	maxToken = 16 << 10
	leeway   = 30 * time.Second // by which clocks may differ
	farthest = 1 << 53          // seconds from 1970 that a time may be: far beyond, it overflows, and what is to come is past
)

// Verifier holds tokens to a Config.
type Verifier struct {
	parser *jwt.Parser
	secret func() []byte
	keys   func() keySet
}

// New reads the key set. It is read again when it changes, until ctx is done.
func New(ctx context.Context, c Config) (*Verifier, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	v := &Verifier{secret: func() []byte { return c.Secret }}
	var methods []string
	if len(c.Secret) > 0 {
		if err := longEnough(c.Secret); err != nil {
			return nil, err
		}
		if c.Renew != nil { // what was signed before is not valid then: for keys side by side there is a key set
			v.secret = follow(c.Secret, c.renewed, c.Logger, "the secret of tokens cannot be read again; the one that was read stays good")
		}
		methods = append(methods, jwt.SigningMethodHS256.Alg())
	}
	if c.JWKS != "" {
		keys, err := readKeys(ctx, c.JWKS, c.Logger)
		if err != nil {
			return nil, err
		}
		v.keys = keys
		methods = append(methods, jwt.SigningMethodRS256.Alg(), jwt.SigningMethodEdDSA.Alg())
	}
	if len(methods) == 0 {
		return nil, errors.New("there is neither a key set nor a secret")
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding()}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

func (c Config) renewed() ([]byte, error) {
	secret, err := c.Renew()
	if err != nil {
		return nil, err
	}
	return secret, longEnough(secret)
}

func longEnough(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("the secret has %d bytes, and must have %d at least", len(secret), MinSecret)
	}
	return nil
}

type claims struct {
	jwt.RegisteredClaims
	Role, Organization string
}

// UnmarshalJSON takes claims by their exact names (RFC 7519, section 10.1.1): Go's decoder
// would take Role for role, which an issuer may let somebody fill in.
func (c *claims) UnmarshalJSON(text []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		var seconds json.Number
		if value, ok := all[name]; ok && json.Unmarshal(value, &seconds) == nil {
			if at, err := seconds.Float64(); err == nil && math.Abs(at) > farthest {
				return fmt.Errorf("%s is no time: %s", name, seconds)
			}
		}
	}
	for name, to := range map[string]any{
		"iss": &c.Issuer, "sub": &c.Subject, "aud": &c.Audience, "exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt,
		"role": &c.Role, "organization_id": &c.Organization,
	} {
		if value, ok := all[name]; ok {
			if err := json.Unmarshal(value, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// Verify returns who the values of the header authorization belong to. Its
// errors are UNAUTHENTICATED with one of the reasons TOKEN_MISSING,
// TOKEN_EXPIRED and TOKEN_INVALID, and never hold any part of a token.
func (v *Verifier) Verify(authorization []string) (wire.Principal, error) {
	if len(authorization) == 0 {
		return wire.Principal{}, wire.Error(codes.Unauthenticated, "TOKEN_MISSING", "the call has no token: send the header authorization: Bearer <token>")
	}
	scheme, raw, _ := strings.Cut(authorization[0], " ")
	if len(authorization) > 1 || !strings.EqualFold(scheme, "bearer") || len(raw) > maxToken {
		return wire.Principal{}, invalid("the header authorization must be one bearer token")
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(strings.TrimSpace(raw), &c, v.key); err != nil {
		return wire.Principal{}, refusal(err)
	}
	role, err := wire.ParseRole(c.Role)
	if err != nil {
		return wire.Principal{}, invalid(err.Error())
	}
	p := wire.Principal{Subject: c.Subject, Organization: c.Organization, Role: role}
	if err := p.Validate(); err != nil {
		return wire.Principal{}, invalid(err.Error())
	}
	return p, nil
}

// errCritical is of a token that must not be taken by who does not know an extension
// (RFC 7515, section 4.1.11): none is known here.
var errCritical = errors.New("the token has critical extensions")

func invalid(why string) error {
	return wire.Error(codes.Unauthenticated, "TOKEN_INVALID", "the token is not valid: "+why)
}

// refusal is what a caller learns of a token that does not parse. The claims are
// only looked at where the signature is right.
func refusal(err error) error {
	switch {
	case errors.Is(err, errCritical):
		return invalid("it has extensions that must be understood (crit), and are not")
	case errors.Is(err, jwt.ErrTokenExpired):
		return wire.Error(codes.Unauthenticated, "TOKEN_EXPIRED", "the token has expired")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return invalid("it is no JSON Web Token")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return invalid("its time has not come")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("it is of another issuer, or for another audience")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("a claim is missing: exp, iss or aud")
	}
	return invalid("its signature is not that of a key and an algorithm that are accepted")
}

// key returns what a token's signature is checked with. Which kind that is
// follows from the algorithm, so that a public key is never taken for a secret.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errCritical
	}
	if t.Method == jwt.SigningMethodHS256 {
		return v.secret(), nil
	}
	key, err := v.keys()(t)
	if err != nil {
		return nil, err
	}
	if set, ok := key.(jwt.VerificationKeySet); ok { // the token does not say which
		set.Keys = slices.DeleteFunc(slices.Clone(set.Keys), func(k jwt.VerificationKey) bool { return strong(k) != nil })
		return set, nil
	}
	return key, strong(key)
}

func strong(key any) error {
	if k, ok := key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return fmt.Errorf("an RSA key has %d bits, and must have %d at least", k.N.BitLen(), minRSA)
	}
	return nil
}
