package token

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// secret is that of HS256. What it was signed with before is not valid any more when it has
// changed: keys that live side by side are what a key set is for.
type secret struct {
	renew func() ([]byte, error)
	log   *slog.Logger

	mu     sync.Mutex
	looked time.Time
	value  []byte
}

// current is the secret as it was a second ago at most; where it cannot be read, as it was
// when it could.
func (s *secret) current() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renew == nil || time.Since(s.looked) < lookAgain {
		return s.value
	}
	s.looked = time.Now()
	value, err := s.renew()
	if err == nil {
		err = longEnough(value)
	}
	if err != nil {
		s.log.Warn("the secret of tokens cannot be read again; the one that was read stays good", "error", err)
		return s.value
	}
	s.value = value
	return s.value
}

func longEnough(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("the secret has %d bytes, and must have %d at least", len(secret), MinSecret)
	}
	return nil
}
