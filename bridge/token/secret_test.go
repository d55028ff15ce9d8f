package token_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ponix/bridge/token"
	"ponix/runtime/runtimetest"
)

func TestTheSecretIsReadAgain(t *testing.T) {
	t.Parallel()
	first, second := bytes.Repeat([]byte("1"), token.MinSecret), bytes.Repeat([]byte("2"), token.MinSecret)
	var now atomic.Pointer[[]byte]
	now.Store(&first)
	log := &runtimetest.Text{}
	v, err := token.New(t.Context(), token.Config{Secret: first, Logger: slog.New(slog.NewTextHandler(log, nil)), Renew: func() ([]byte, error) {
		if b := *now.Load(); b != nil {
			return b, nil
		}
		return nil, errors.New("it is gone")
	}})
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(secret []byte) error {
		_, err := v.Verify([]string{"Bearer " + sign(t, jwt.SigningMethodHS256, secret, "", nil)})
		return err
	}
	if err := accepts(first); err != nil {
		t.Error(err)
	}
	if err := accepts(second); err == nil {
		t.Error("another secret is taken")
	}
	now.Store(&second)
	runtimetest.Eventually(t, 10*time.Second, func() error { return accepts(second) })
	if err := accepts(first); err == nil {
		t.Error("the secret of before is taken")
	}
	short := second[:token.MinSecret-1]
	for want, value := range map[string]*[]byte{"has 31 bytes": &short, "it is gone": new([]byte)} {
		now.Store(value)
		runtimetest.Eventually(t, 10*time.Second, func() error {
			if err := accepts(second); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log.String(), want) {
				return errors.New("the log does not have it")
			}
			return nil
		})
	}
}
