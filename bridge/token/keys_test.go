package token_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ponix/bridge/token"
	"ponix/runtime/runtimetest"
)

func TestKeysOfAFileAreReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "jwks.json")
	_, first, _ := ed25519.GenerateKey(nil)
	_, second, _ := ed25519.GenerateKey(nil)
	write(t, file, jwks(t, map[string]any{"a": first}))
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	log := &runtimetest.Text{}
	v, err := token.New(t.Context(), token.Config{JWKS: file, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	raw := sign(t, jwt.SigningMethodEdDSA, second, "b", nil)
	_, err = v.Verify([]string{"Bearer " + raw})
	refused(t, err, "TOKEN_INVALID", raw)
	both := jwks(t, map[string]any{"a": first, "b": second})
	write(t, file, both)
	if err := os.Chtimes(file, before.ModTime(), before.ModTime()); err != nil { // its size tells
		t.Fatal(err)
	}
	accepted := func() error { _, err := v.Verify([]string{"Bearer " + raw}); return err }
	runtimetest.Eventually(t, 10*time.Second, accepted)
	// Being written, and then gone: the keys that were read stay good, and nobody looks for
	// each call.
	const warning = "the keys that were read stay good"
	stay := func() {
		t.Helper()
		told := strings.Count(log.String(), warning)
		runtimetest.Eventually(t, 10*time.Second, func() error {
			if err := accepted(); err != nil {
				t.Fatal(err)
			}
			if strings.Count(log.String(), warning) == told {
				return errors.New("the file was not read again")
			}
			return nil
		})
	}
	write(t, file, bytes.Repeat([]byte("x"), len(both))) // its time tells
	stay()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	stay()
	began, told := time.Now(), strings.Count(log.String(), warning)
	for range 100 {
		if err := accepted(); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), warning) - told; n > 1+int(time.Since(began)/time.Second) {
		t.Errorf("the file was looked for %d times", n)
	}
}

func TestKeysOfAURLAreFetchedWhenOneIsUnknown(t *testing.T) {
	t.Parallel()
	_, first, _ := ed25519.GenerateKey(nil)
	_, second, _ := ed25519.GenerateKey(nil)
	sets := make(chan []byte, 2)
	sets <- jwks(t, map[string]any{"a": first})
	sets <- jwks(t, map[string]any{"b": second})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(<-sets) //nolint:errcheck // the client sees it
	}))
	t.Cleanup(srv.Close)
	v := verifier(t, token.Config{JWKS: srv.URL})
	old := sign(t, jwt.SigningMethodEdDSA, first, "a", nil)
	if _, err := v.Verify([]string{"Bearer " + old}); err != nil {
		t.Errorf("before the rotation: %v", err)
	}
	if _, err := v.Verify([]string{"Bearer " + sign(t, jwt.SigningMethodEdDSA, second, "b", nil)}); err != nil {
		t.Errorf("after it: %v", err)
	}
	_, err := v.Verify([]string{"Bearer " + old}) // whose key is retired
	refused(t, err, "TOKEN_INVALID", old)
	// Keys that nobody knows do not make anybody fetch, nor wait.
	began := time.Now()
	raw := sign(t, jwt.SigningMethodEdDSA, first, "c", nil)
	_, err = v.Verify([]string{"Bearer " + raw})
	refused(t, err, "TOKEN_INVALID", raw)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("an unknown key took %v", took)
	}
}

// TestKeysComeOverHTTPSOnly holds that a redirect does not lead to where anybody on
// the way can change the keys. 0.0.0.0 is this machine, but does not say so.
func TestKeysComeOverHTTPSOnly(t *testing.T) {
	t.Parallel()
	_, key, _ := ed25519.GenerateKey(nil)
	set := jwks(t, map[string]any{"a": key})
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	there := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(set) //nolint:errcheck // the client sees it
	})}}
	there.Start()
	t.Cleanup(there.Close)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	here := httptest.NewServer(http.RedirectHandler("http://0.0.0.0:"+port, http.StatusFound))
	t.Cleanup(here.Close)
	if _, err := token.New(t.Context(), token.Config{JWKS: here.URL}); err == nil {
		t.Error("the keys are taken")
	}
}

// TestRedirectsOfKeys follows five, and not any number.
func TestRedirectsOfKeys(t *testing.T) {
	t.Parallel()
	_, key, _ := ed25519.GenerateKey(nil)
	set := jwks(t, map[string]any{"a": key})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left := strings.TrimPrefix(r.URL.Path, "/"); left != "" { // as many as there are letters
			http.Redirect(w, r, "/"+left[1:], http.StatusFound)
			return
		}
		w.Write(set) //nolint:errcheck // the client sees it
	}))
	t.Cleanup(srv.Close)
	verifier(t, token.Config{JWKS: srv.URL + "/xxxxx"})
	if _, err := token.New(t.Context(), token.Config{JWKS: srv.URL + "/xxxxxx"}); err == nil {
		t.Error("six were followed")
	}
}

// TestWhyKeysCannotBeFetched holds that the error has the reason, without a password of the URL
// and without what was sent.
func TestWhyKeysCannotBeFetched(t *testing.T) {
	t.Parallel()
	answer := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, "hunter2") //nolint:errcheck // the client sees it
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for want, srv := range map[string]*httptest.Server{
		"404":                           httptest.NewServer(answer(http.StatusNotFound)),
		"no JSON Web Key Set":           httptest.NewServer(answer(http.StatusOK)),
		"certificate signed by unknown": httptest.NewTLSServer(answer(http.StatusOK)),
		"connect: connection refused":   gone,
	} {
		t.Cleanup(srv.Close)
		_, err := token.New(t.Context(), token.Config{JWKS: strings.Replace(srv.URL, "://", "://u:hunter2@", 1)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAURLWithoutKeysIsRefused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"issuer": "https://id", "jwks_uri": "https://id/keys"}`) //nolint:errcheck // the client sees it
	}))
	t.Cleanup(srv.Close)
	if _, err := token.New(t.Context(), token.Config{JWKS: srv.URL}); err == nil || !strings.Contains(err.Error(), "holds no key") {
		t.Errorf("got %v", err)
	}
}

// TestEveryKeyCounts has a set with keys that have no name, and one of a kind that
// Ponix does not know, which RFC 7517, section 5, says to ignore.
func TestEveryKeyCounts(t *testing.T) {
	t.Parallel()
	_, first, _ := ed25519.GenerateKey(nil)
	_, second, _ := ed25519.GenerateKey(nil)
	set := bytes.ReplaceAll(jwks(t, map[string]any{"a": first, "b": second}), []byte(`"keys":[`), []byte(`"keys":[{"kty":"AKP","kid":"c","alg":"ML-DSA-44","pub":"AA"},`))
	set = regexp.MustCompile(`,"kid":"[ab]"`).ReplaceAll(set, nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(set) //nolint:errcheck // the client sees it
	}))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "jwks.json")
	write(t, file, set)
	for _, from := range []string{file, srv.URL} {
		v := verifier(t, token.Config{JWKS: from})
		for _, key := range []ed25519.PrivateKey{first, second} {
			if _, err := v.Verify([]string{"Bearer " + sign(t, jwt.SigningMethodEdDSA, key, "", nil)}); err != nil {
				t.Errorf("%s: %v", from, err)
			}
		}
	}
}

// TestAURLThatLosesItsKeys holds that an answer without keys, which anybody can have fetched
// by a key that is not known, leaves those of before.
func TestAURLThatLosesItsKeys(t *testing.T) {
	t.Parallel()
	_, key, _ := ed25519.GenerateKey(nil)
	sets := make(chan []byte, 2)
	sets <- jwks(t, map[string]any{"a": key})
	sets <- []byte(`{"error": "try again"}`)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(<-sets) //nolint:errcheck // the client sees it
	}))
	t.Cleanup(srv.Close)
	v := verifier(t, token.Config{JWKS: srv.URL})
	raw := sign(t, jwt.SigningMethodEdDSA, key, "b", nil)
	_, err := v.Verify([]string{"Bearer " + raw})
	refused(t, err, "TOKEN_INVALID", raw)
	if len(sets) > 0 {
		t.Fatal("the keys were not fetched again")
	}
	if _, err := v.Verify([]string{"Bearer " + sign(t, jwt.SigningMethodEdDSA, key, "a", nil)}); err != nil {
		t.Errorf("the key of before: %v", err)
	}
}
