package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ponix/bridge/token"
	authv1 "ponix/proto/ponix/auth/v1"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

// TestTheSecretsFileIsReadAgain holds that a bridge which runs takes the tokens of a secret
// that has come into its file.
func TestTheSecretsFileIsReadAgain(t *testing.T) {
	t.Parallel()
	d := door{Auth: config.Auth{SecretFile: filepath.Join(t.TempDir(), "secret")}}
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(d.SecretFile, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := strings.Repeat("1", token.MinSecret), strings.Repeat("2", token.MinSecret)
	write(first)
	c, err := d.config(t.Context(), &env{log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(secret string) error {
		raw, err := token.Sign(token.Config{Secret: []byte(secret)}, wire.Principal{Subject: "ada", Role: authv1.Role_ROLE_ADMIN}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Tokens.Verify([]string{"Bearer " + raw})
		return err
	}
	if err := accepts(first); err != nil {
		t.Fatal(err)
	}
	write(second)
	runtimetest.Eventually(t, 10*time.Second, func() error { return accepts(second) })
}

// TestAKeySetThatIsAway holds that a key set which cannot be fetched now is a failure, and no
// mistake of the configuration: whoever starts Ponix again after a failure is to do so.
func TestAKeySetThatIsAway(t *testing.T) {
	t.Parallel()
	_, err := door{Auth: config.Auth{JWKS: "https://127.0.0.1:1/jwks"}}.config(t.Context(), &env{log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "PONIX_AUTH_JWKS") || errors.As(err, new(*config.Error)) {
		t.Errorf("got %v", err)
	}
}
