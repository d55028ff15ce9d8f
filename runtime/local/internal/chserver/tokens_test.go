package chserver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestTokensGo begins twice without an end, on data whose path has what is a pattern
// elsewhere: what was known of tokens goes.
func TestTokensGo(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"data", "a b", "data[1]", "data[", "*", `back\slash`} {
		c := Config{Path: filepath.Join(t.TempDir(), name)}
		logs := filepath.Join(c.Path, "store", "abc", "abcdef", "deduplication_logs")
		if err := errors.Join(os.MkdirAll(logs, 0o750), c.begin()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(logs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.begin(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(logs); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: they are there, %v", name, err)
		}
	}
}
