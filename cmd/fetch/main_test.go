package main

import (
	"os/exec"
	"strings"
	"testing"
)

// It is to be compiled long before the modules that ponix needs.
func TestNeedsTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Fields(string(out))
	if len(own) < 3 {
		t.Errorf("go list names %q only", own)
	}
	for _, path := range own {
		if !strings.HasPrefix(path, "ponix/") {
			t.Errorf("imports %s", path)
		}
	}
}
