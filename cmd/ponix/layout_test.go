package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayImport says which of our packages each room may import, as prefixes.
var mayImport = map[string][]string{
	"ponix/proto":      {"ponix/proto"},
	"ponix/nats":       {"ponix/nats"},
	"ponix/migrations": {"ponix/migrations"},
	"ponix/runtime":    {"ponix/runtime", "ponix/proto", "ponix/nats"},
	"ponix/bridge":     {"ponix/proto", "ponix/runtime/wire"},
	"ponix/functions":  {"ponix/proto", "ponix/runtime", "ponix/nats", "ponix/migrations", "ponix/functions/internal"},
	"ponix/cmd":        {"ponix/"},
}

// lister is the one package of functions/ that imports the functions.
const lister = "ponix/functions"

type listed struct {
	ImportPath, Dir string
	Imports         []string
	TestImports     []string
	XTestImports    []string
	GoFiles         []string
	TestGoFiles     []string
	XTestGoFiles    []string
	IgnoredGoFiles  []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportRules(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.ImportPath == lister {
			continue
		}
		room := strings.Join(strings.SplitN(p.ImportPath, "/", 3)[:2], "/")
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s: there is no room %s", p.ImportPath, room)
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "ponix/") {
				continue
			}
			inside := imported == p.ImportPath || strings.HasPrefix(imported, p.ImportPath+"/")
			fits := func(prefix string) bool {
				return imported == prefix || strings.HasPrefix(imported, strings.TrimSuffix(prefix, "/")+"/")
			}
			if !inside && !slices.ContainsFunc(allowed, fits) {
				t.Errorf("%s may not import %s", p.ImportPath, imported)
			}
		}
		// Other functions and the bridge are out of reach for tests, too.
		if room == "ponix/functions" {
			for _, imported := range append(p.TestImports, p.XTestImports...) {
				if strings.HasPrefix(imported, "ponix/bridge") || strings.HasPrefix(imported, "ponix/cmd") {
					t.Errorf("tests of %s may not import %s", p.ImportPath, imported)
				}
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, bad := range []string{"common", "util", "utils", "models", "helpers"} {
			if filepath.Base(p.ImportPath) == bad {
				t.Errorf("%s: the name says nothing", p.ImportPath)
			}
		}
	}
}

func TestEveryPackageHasADocstring(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "ponix/proto/ponix/") || len(p.GoFiles) == 0 {
			continue // generated, or tests only
		}
		documented := slices.ContainsFunc(p.GoFiles, func(name string) bool {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			return err == nil && f.Doc != nil
		})
		if !documented {
			t.Errorf("%s has no package doc", p.ImportPath)
		}
	}
}

var (
	skips  = regexp.MustCompile(`\.(Skip|Skipf|SkipNow)\(|testing\.Short\(`)
	unless = regexp.MustCompile(`(?m)^//go:build (.*)$`)
)

// TestEveryTestRuns holds that no test leaves itself out: what it needs and does not find
// is a failure. Only the race detector's tests and those of a system are apart.
func TestEveryTestRuns(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if at := skips.Find(text); at != nil {
				t.Errorf("%s/%s: %s", p.ImportPath, name, at)
			}
			if tag := unless.FindSubmatch(text); tag != nil && strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(string(tag[1]), "race") {
				t.Errorf("%s/%s runs only with %s", p.ImportPath, name, tag[1])
			}
		}
	}
}
