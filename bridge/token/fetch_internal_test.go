package token

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// slowly answers requests with what it holds, after a while.
type slowly struct{ atomic.Value }

func (s *slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(300 * time.Millisecond):
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(s.Load().(string))), Request: r}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// TestKeysRotateWhileUnknownOnesAreAsked holds that a new key is known soon, also where somebody
// asks for one that does not exist all the time.
func TestKeysRotateWhileUnknownOnesAreAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set := func(id string) string {
			x := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
			return fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":%q,"x":%q}]}`, id, x)
		}
		answer := &slowly{}
		answer.Store(set("old"))
		keys, err := fetchKeys(t.Context(), &url.URL{Scheme: "https", Host: "id.example.com"}, &http.Client{Transport: answer}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ask := func(id string) error {
			_, err := keys()(&jwt.Token{Header: map[string]any{"kid": id, "alg": "EdDSA"}})
			return err
		}
		began := time.Now()
		for time.Since(began) < 3*fetchSoon {
			go ask("none") //nolint:errcheck // nobody has it
			if time.Since(began) > time.Second {
				answer.Store(set("new"))
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err := ask("new"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}
