package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// keySet finds the key of a token.
type keySet = jwt.Keyfunc

const (
	fetchAgain = time.Hour   // between fetches of a URL
	fetchSoon  = time.Minute // between fetches because of a key that is not known
	fetchTime  = 5 * time.Second

	maxRedirects = 5
)

// readKeys reads a key set from a file or a URL, and follows its changes.
func readKeys(ctx context.Context, from string, log *slog.Logger) (func() keySet, error) {
	if !strings.Contains(from, "://") {
		f := &keyFile{path: from}
		set, err := f.read()
		if err != nil {
			return nil, err
		}
		return follow(set, f.read, log, "the key set cannot be read again; the keys that were read stay good"), nil
	}
	u, err := url.Parse(from)
	if err != nil {
		return nil, errors.New("the URL of the key set cannot be read")
	}
	if err := trusted(u); err != nil {
		return nil, err
	}
	return fetchKeys(ctx, u, &http.Client{CheckRedirect: redirected}, log)
}

// trusted is an error where somebody on the way could change the keys.
func trusted(u *url.URL) error {
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return errors.New("the URL of a key set must be https: who changes the keys on the way can be anybody")
	}
	return nil
}

// redirected holds redirects to what the URL itself is held to.
func redirected(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	return trusted(req.URL)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// keyFile is a key set in a file, which is read again when it has changed.
type keyFile struct {
	path    string
	changed time.Time // the file's time when it was read, and its size
	size    int64
	set     keySet
}

// read returns what the file has.
func (f *keyFile) read() (keySet, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	if f.set != nil && info.ModTime().Equal(f.changed) && info.Size() == f.size {
		return f.set, nil
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	f.changed, f.size = info.ModTime(), info.Size()
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no JSON Web Key Set", f.path)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key", f.path)
	}
	store := jwkset.NewMemoryStorage()
	if err := store.KeyReplaceAll(context.Background(), keys); err != nil {
		return nil, err
	}
	k, err := keyfunc.New(keyfunc.Options{Storage: store})
	if err != nil {
		return nil, err
	}
	f.set = k.Keyfunc
	return f.set, nil
}

// parseKeys leaves out keys of kinds that are not known (RFC 7517, section 5), as is
// done with those at a URL.
func parseKeys(text []byte) (keys []jwkset.JWK, err error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	for _, m := range set.Keys {
		k, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if errors.Is(err, jwkset.ErrUnsupportedKey) {
			continue
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}
