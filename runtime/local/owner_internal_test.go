package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckOwner holds that what an engine could not read is refused, however deep, and a
// directory whose owner is another, as that of a volume, is not.
func TestCheckOwner(t *testing.T) {
	t.Parallel()
	dir, me := t.TempDir(), os.Geteuid()
	if err := checkOwner(filepath.Join(dir, "none"), me+1); err != nil {
		t.Errorf("without a directory: %v", err)
	}
	if err := checkOwner(dir, me+1); err != nil {
		t.Errorf("without what engines have: %v", err)
	}
	block := filepath.Join(dir, natsFolder, "jetstream", "1.blk")
	if err := os.MkdirAll(filepath.Dir(block), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(block, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkOwner(dir, me); err != nil {
		t.Errorf("of oneself: %v", err)
	}
	if err := checkOwner(dir, me+1); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("of another: got %v", err)
	}
	if err := checkOwner(dir, 0); err != nil {
		t.Errorf("root: %v", err)
	}
}
