package token

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ponix/runtime/wire"
)

// Sign makes a token for p that a Verifier with the same Config takes until ttl
// has passed. It needs the secret: the keys of a key set sign elsewhere.
func Sign(c Config, p wire.Principal, ttl time.Duration) (string, error) {
	if len(c.Secret) < MinSecret {
		return "", fmt.Errorf("the secret has %d bytes, and must have %d at least", len(c.Secret), MinSecret)
	}
	if err := p.Validate(); err != nil {
		return "", err
	}
	now := time.Now()
	all := jwt.MapClaims{
		"sub": p.Subject, "role": wire.RoleName(p.Role),
		"iat": now.Unix(), "exp": now.Add(ttl).Unix(),
	}
	for name, v := range map[string]string{"organization_id": p.Organization, "iss": c.Issuer, "aud": c.Audience} {
		if v != "" {
			all[name] = v
		}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString(c.Secret)
}
