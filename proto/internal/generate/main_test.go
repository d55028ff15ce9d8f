package main

import (
	"os"
	"testing"
)

// TestOldCodeStays holds that a .proto which a plug-in refuses, for want of a go_package,
// does not take away the code of all the others.
func TestOldCodeStays(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"a.proto": `syntax = "proto3"; package a;`, "old.pb.go": "package old"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context()); err == nil {
		t.Error("it was taken")
	}
	if _, err := os.Stat("old.pb.go"); err != nil {
		t.Error(err)
	}
}
