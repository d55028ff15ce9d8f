package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"ponix/runtime/config"
)

var update = flag.Bool("update", false, "write the README's table of variables")

// variables makes the README's table from the flags of the commands that run
// for long.
func variables(t *testing.T) string {
	t.Helper()
	var c cli
	k, err := kong.New(&c, kong.DefaultEnvars(config.EnvPrefix), kong.Vars{"version": version})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var rows []string
	add := func(flags []*kong.Flag) {
		for _, f := range flags {
			if f.Hidden || len(f.Envs) == 0 || seen[f.Envs[0]] {
				continue
			}
			seen[f.Envs[0]] = true
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", f.Envs[0], f.Default, strings.TrimSuffix(f.Help, ".")))
		}
	}
	add(k.Model.Flags)
	for _, name := range []string{"serve", "bridge", "up"} {
		i := slices.IndexFunc(k.Model.Children, func(n *kong.Node) bool { return n.Name == name })
		add(k.Model.Children[i].Flags)
	}
	for _, secret := range [][2]string{
		{"NATS_PASSWORD", " | The password"}, {"POSTGRES_PASSWORD", "ponix | The password"}, {"CLICKHOUSE_PASSWORD", "ponix | The password"}, {"AUTH_SECRET", " | The secret"},
	} {
		rows = append(rows, fmt.Sprintf("| `PONIX_%s` | %s, or `PONIX_%s_FILE` |", secret[0], secret[1], secret[0]))
	}
	return strings.Join(rows, "\n")
}

// TestReadmeNamesEveryVariable holds the README's table to the command line.
func TestReadmeNamesEveryVariable(t *testing.T) {
	t.Parallel()
	const file, head, foot = "../../README.md", "<!-- variables: held by a test -->\n| variable | default | meaning |\n|---|---|---|\n", "\n\nThese have no meaning any more"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), head)
	got, after, ok2 := strings.Cut(rest, foot)
	if !ok1 || !ok2 {
		t.Fatal("the README has lost its table of variables")
	}
	want := variables(t)
	if got == want {
		return
	}
	if !*update {
		t.Fatal("the README's table of variables is not that of the command line: go test ./cmd/ponix -run Readme -update")
	}
	if err := os.WriteFile(file, []byte(before+head+want+foot+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
