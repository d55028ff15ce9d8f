package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"golang.org/x/time/rate"
)

// ErrFetch is what New returns where a key set is not to be had now.
var ErrFetch = errors.New("the key set cannot be fetched")

// fetchKeys reads a key set from a URL, and follows its changes.
func fetchKeys(ctx context.Context, u *url.URL, client *http.Client, log *slog.Logger) (func() keySet, error) {
	source, err := jwkset.NewStorageFromHTTP(u.String(), jwkset.HTTPClientStorageOptions{
		Client: client, Ctx: ctx, Storage: kept{jwkset.NewMemoryStorage()},
		HTTPTimeout: fetchTime, RefreshInterval: fetchAgain,
		RefreshErrorHandler: func(_ context.Context, err error) {
			log.Warn("the key set cannot be fetched; the keys of the last fetch stay good", "url", u.Redacted(), "error", cause(err))
		},
	})
	if errors.Is(err, errNoKey) {
		return nil, fmt.Errorf("%s holds no key", u.Redacted())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: that at %s: %w", ErrFetch, u.Redacted(), cause(err))
	}
	fetching, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{u.String(): source},
		RefreshUnknownKID: rate.NewLimiter(rate.Inf, 1), RateLimitWaitMax: fetchTime,
	})
	if err != nil {
		return nil, err
	}
	k, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: sparing{fetching, source, rate.NewLimiter(rate.Every(fetchSoon), 1)}})
	if err != nil {
		return nil, err
	}
	return func() keySet { return k.Keyfunc }, nil
}

// cause is why a fetch has failed, without the URL, which may have a password, and without what
// was sent instead of keys.
func cause(err error) error {
	var request *url.Error
	switch {
	case errors.As(err, &request):
		return request.Err
	case errors.Is(err, errNoKey):
		return errNoKey
	case errors.Is(err, jwkset.ErrInvalidHTTPStatusCode):
		return err
	}
	return errors.New("the answer is no JSON Web Key Set")
}

// sparing has a key that is not known fetched, now and then: the library's own limit would have
// a caller wait, and leave the fetch what that has left of its time.
type sparing struct {
	jwkset.Storage // fetches for each key that it does not know
	known          jwkset.Storage
	soon           *rate.Limiter
}

// KeyRead implements jwkset.Storage.
func (s sparing) KeyRead(ctx context.Context, id string) (jwkset.JWK, error) {
	key, err := s.known.KeyRead(ctx, id)
	if errors.Is(err, jwkset.ErrKeyNotFound) && s.soon.Allow() {
		return s.Storage.KeyRead(ctx, id)
	}
	return key, err
}

// kept are the keys of a URL. An answer that has none, as an error in JSON, leaves those of
// the last fetch, as a file does: otherwise nobody would be let in until the next fetch.
type kept struct{ jwkset.Storage }

var errNoKey = errors.New("there is no key")

// KeyReplaceAll implements jwkset.Storage.
func (k kept) KeyReplaceAll(ctx context.Context, keys []jwkset.JWK) error {
	if len(keys) == 0 {
		return errNoKey
	}
	return k.Storage.KeyReplaceAll(ctx, keys)
}
