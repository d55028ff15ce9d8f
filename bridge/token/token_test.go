package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/bridge/token"
	authv1 "ponix/proto/ponix/auth/v1"
	"ponix/runtime/wire"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// sign makes a token of a member's claims with changes; nil removes a claim.
func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, changes jwt.MapClaims) string {
	t.Helper()
	c := jwt.MapClaims{"sub": "ada", "role": "member", "organization_id": "o1", "exp": time.Now().Add(time.Hour).Unix(), "iss": "https://id", "aud": "ponix"}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	tok := jwt.NewWithClaims(method, c)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// jwks is a key set of public keys.
func jwks(t *testing.T, keys map[string]any) []byte {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	var out []map[string]string
	for kid, key := range keys {
		switch k := key.(type) {
		case *rsa.PrivateKey:
			out = append(out, map[string]string{"kty": "RSA", "kid": kid, "alg": "RS256", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
		case ed25519.PrivateKey:
			out = append(out, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": b64(k.Public().(ed25519.PublicKey))})
		}
	}
	text, err := json.Marshal(map[string]any{"keys": out})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func verifier(t *testing.T, c token.Config) *token.Verifier {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	v, err := token.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// refused holds an error to its reason, and to saying nothing of the token.
func refused(t *testing.T, err error, reason, raw string) {
	t.Helper()
	st := status.Convert(err)
	var got string
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			got = info.Reason
		}
	}
	if st.Code() != codes.Unauthenticated || got != reason {
		t.Errorf("got %v %s, want %s", err, got, reason)
	}
	for _, part := range strings.Split(raw, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error holds a part of the token: %v", err)
		}
	}
}

// attempt is a token, and the reason for which it is refused; empty: it is taken.
type attempt struct {
	v      *token.Verifier
	raw    string
	reason string
}

func try(t *testing.T, attempts map[string]attempt) {
	t.Helper()
	for name, tt := range attempts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := tt.v.Verify([]string{"Bearer " + tt.raw})
			if tt.reason != "" {
				refused(t, err, tt.reason, tt.raw)
				return
			}
			if want := (wire.Principal{Subject: "ada", Organization: "o1", Role: authv1.Role_ROLE_MEMBER}); err != nil || p != want {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	hs, v := jwt.SigningMethodHS256, verifier(t, token.Config{Secret: secret, Issuer: "https://id", Audience: "ponix"})
	past, future := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Minute).Unix()
	try(t, map[string]attempt{
		"expired within the leeway":     {v, sign(t, hs, secret, "", jwt.MapClaims{"exp": time.Now().Add(-10 * time.Second).Unix()}), ""},
		"expired":                       {v, sign(t, hs, secret, "", jwt.MapClaims{"exp": past}), "TOKEN_EXPIRED"},
		"never expires":                 {v, sign(t, hs, secret, "", jwt.MapClaims{"exp": nil}), "TOKEN_INVALID"},
		"not yet":                       {v, sign(t, hs, secret, "", jwt.MapClaims{"nbf": future}), "TOKEN_INVALID"},
		"never valid":                   {v, sign(t, hs, secret, "", jwt.MapClaims{"nbf": 1e300}), "TOKEN_INVALID"},
		"not for an age":                {v, sign(t, hs, secret, "", jwt.MapClaims{"nbf": json.Number("9.22e18")}), "TOKEN_INVALID"},
		"made at no time":               {v, sign(t, hs, secret, "", jwt.MapClaims{"iat": -1e300}), "TOKEN_INVALID"},
		"expires at no time":            {v, sign(t, hs, secret, "", jwt.MapClaims{"exp": 1e300}), "TOKEN_INVALID"},
		"another issuer":                {v, sign(t, hs, secret, "", jwt.MapClaims{"iss": "https://evil"}), "TOKEN_INVALID"},
		"no issuer":                     {v, sign(t, hs, secret, "", jwt.MapClaims{"iss": nil}), "TOKEN_INVALID"},
		"another audience":              {v, sign(t, hs, secret, "", jwt.MapClaims{"aud": "other"}), "TOKEN_INVALID"},
		"no audience":                   {v, sign(t, hs, secret, "", jwt.MapClaims{"aud": nil}), "TOKEN_INVALID"},
		"no role":                       {v, sign(t, hs, secret, "", jwt.MapClaims{"role": nil}), "TOKEN_INVALID"},
		"an unknown role":               {v, sign(t, hs, secret, "", jwt.MapClaims{"role": "root"}), "TOKEN_INVALID"},
		"a role that is a list":         {v, sign(t, hs, secret, "", jwt.MapClaims{"role": []string{"admin"}}), "TOKEN_INVALID"},
		"a member of nothing":           {v, sign(t, hs, secret, "", jwt.MapClaims{"organization_id": nil}), "TOKEN_INVALID"},
		"a member of a wildcard":        {v, sign(t, hs, secret, "", jwt.MapClaims{"organization_id": ">"}), "TOKEN_INVALID"},
		"a device of nothing":           {v, sign(t, hs, secret, "", jwt.MapClaims{"role": "device", "organization_id": ""}), "TOKEN_INVALID"},
		"an admin of one organization":  {v, sign(t, hs, secret, "", jwt.MapClaims{"role": "admin"}), "TOKEN_INVALID"},
		"nobody":                        {v, sign(t, hs, secret, "", jwt.MapClaims{"sub": nil}), "TOKEN_INVALID"},
		"a subject with a space":        {v, sign(t, hs, secret, "", jwt.MapClaims{"sub": "ada "}), "TOKEN_INVALID"},
		"claims in another case":        {v, sign(t, hs, secret, "", jwt.MapClaims{"ROLE": "admin", "Organization_ID": "", "ſub": "root", "EXP": past, "iſs": "https://evil"}), ""}, // Go takes ſ for an s
		"a role in another case":        {v, sign(t, hs, secret, "", jwt.MapClaims{"role": nil, "Role": "member"}), "TOKEN_INVALID"},
		"a subject with a header in it": {v, sign(t, hs, secret, "", jwt.MapClaims{"sub": "ada\r\nPonix-Role: admin"}), "TOKEN_INVALID"},
	})
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	rsa1, weak := rsaKey(t, 2048), rsaKey(t, 1024)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	write(t, file, jwks(t, map[string]any{"r": rsa1, "e": ed, "weak": weak}))
	both := verifier(t, token.Config{JWKS: file, Secret: secret, Issuer: "https://id", Audience: "ponix"})
	keysOnly := verifier(t, token.Config{JWKS: file})
	secretOnly := verifier(t, token.Config{Secret: secret})
	good := sign(t, jwt.SigningMethodHS256, secret, "", nil)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: mustPKIX(t, &rsa1.PublicKey)})
	hs, rs, eddsa := jwt.SigningMethodHS256, jwt.SigningMethodRS256, jwt.SigningMethodEdDSA
	try(t, map[string]attempt{
		"HS256":                          {both, sign(t, hs, secret, "", nil), ""},
		"RS256":                          {both, sign(t, rs, rsa1, "r", nil), ""},
		"EdDSA":                          {both, sign(t, eddsa, ed, "e", nil), ""},
		"a bit that does not count":      {both, good[:len(good)-1] + string(good[len(good)-1]+1), "TOKEN_INVALID"},
		"expired, and not ours":          {both, sign(t, eddsa, stranger, "e", jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), "TOKEN_INVALID"},
		"another secret":                 {both, sign(t, hs, []byte(strings.Repeat("x", 32)), "", nil), "TOKEN_INVALID"},
		"another key":                    {both, sign(t, eddsa, stranger, "e", nil), "TOKEN_INVALID"},
		"an unknown key":                 {both, sign(t, eddsa, ed, "nobody", nil), "TOKEN_INVALID"},
		"no key is named":                {both, sign(t, eddsa, ed, "", nil), ""},
		"no key is named, a weak one":    {both, sign(t, rs, weak, "", nil), "TOKEN_INVALID"},
		"a weak key":                     {both, sign(t, rs, weak, "weak", nil), "TOKEN_INVALID"},
		"HS512":                          {both, sign(t, jwt.SigningMethodHS512, secret, "", nil), "TOKEN_INVALID"},
		"PS256":                          {both, sign(t, jwt.SigningMethodPS256, rsa1, "r", nil), "TOKEN_INVALID"},
		"none":                           {both, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", nil), "TOKEN_INVALID"},
		"signed by the public key":       {keysOnly, sign(t, hs, public, "r", nil), "TOKEN_INVALID"},
		"signed by it, with a secret":    {both, sign(t, hs, public, "r", nil), "TOKEN_INVALID"},
		"signed by the modulus":          {keysOnly, sign(t, hs, rsa1.N.Bytes(), "r", nil), "TOKEN_INVALID"},
		"RS256 where there are no keys":  {secretOnly, sign(t, rs, rsa1, "r", nil), "TOKEN_INVALID"},
		"HS256 where there is no secret": {keysOnly, sign(t, hs, []byte{}, "", nil), "TOKEN_INVALID"},
		"garbage":                        {both, "not.a.token", "TOKEN_INVALID"},
		"empty":                          {both, "", "TOKEN_INVALID"},
	})
}

// TestCriticalExtensions holds that a token which asks for what is not known here is refused,
// whoever has signed it.
func TestCriticalExtensions(t *testing.T) {
	t.Parallel()
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "root", "role": "admin", "exp": time.Now().Add(time.Hour).Unix()})
	tok.Header["crit"], tok.Header["urn:example:bound"] = []string{"urn:example:bound"}, "to another door"
	raw, err := tok.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	p, err := verifier(t, token.Config{Secret: secret}).Verify([]string{"Bearer " + raw})
	if err == nil {
		t.Fatalf("%+v is let in", p)
	}
	refused(t, err, "TOKEN_INVALID", raw)
}

func mustPKIX(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestHeader(t *testing.T) {
	t.Parallel()
	v := verifier(t, token.Config{Secret: secret})
	good := sign(t, jwt.SigningMethodHS256, secret, "", nil)
	for name, tt := range map[string]struct {
		values []string
		reason string
	}{
		"none":       {nil, "TOKEN_MISSING"},
		"lower case": {[]string{"bearer " + good}, ""},
		"two":        {[]string{"Bearer " + good, "Bearer " + good}, "TOKEN_INVALID"},
		"basic":      {[]string{"Basic YWRhOmFkYQ=="}, "TOKEN_INVALID"},
		"no scheme":  {[]string{good}, "TOKEN_INVALID"},
		"huge":       {[]string{"Bearer " + sign(t, jwt.SigningMethodHS256, secret, "", jwt.MapClaims{"more": strings.Repeat("a", 16<<10)})}, "TOKEN_INVALID"},
	} {
		_, err := v.Verify(tt.values)
		if tt.reason == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if tt.reason != "" {
			refused(t, err, tt.reason, good)
		}
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	t.Parallel()
	empty, broken := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "broken")
	write(t, empty, []byte(`{"keys":[]}`))
	write(t, broken, []byte(`-----BEGIN PRIVATE KEY-----hunter2`))
	for name, c := range map[string]token.Config{
		"nothing":        {},
		"a short secret": {Secret: []byte("hunter2 hunter2 hunter2 hunter2")},
		"no file":        {JWKS: filepath.Join(t.TempDir(), "none")},
		"no key":         {JWKS: empty},
		"no key set":     {JWKS: broken},
		"plain http":     {JWKS: "http://id.example.com/jwks"},
		"another scheme": {JWKS: "ftp://id.example.com/jwks"},
		"nobody listens": {JWKS: "http://u:hunter2@127.0.0.1:1/jwks"},
	} {
		if _, err := token.New(t.Context(), c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWhatIsSignedIsTaken(t *testing.T) {
	t.Parallel()
	c := token.Config{Secret: secret, Issuer: "https://id", Audience: "ponix"}
	v := verifier(t, c)
	for _, p := range []wire.Principal{
		{Subject: "root", Role: authv1.Role_ROLE_ADMIN},
		{Subject: "ada", Organization: "o1", Role: authv1.Role_ROLE_MEMBER},
		{Subject: "d1", Organization: "o1", Role: authv1.Role_ROLE_DEVICE},
	} {
		raw, err := token.Sign(c, p, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Verify([]string{"Bearer " + raw}); err != nil || got != p {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	}
	if raw, err := token.Sign(c, wire.Principal{Subject: "ada", Role: authv1.Role_ROLE_MEMBER}, time.Minute); err == nil {
		t.Errorf("a member of nothing has %s", raw)
	}
}
