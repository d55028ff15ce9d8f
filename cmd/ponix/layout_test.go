package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
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
