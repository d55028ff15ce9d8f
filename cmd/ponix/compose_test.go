package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"ponix/runtime/config"
)

// TestCompose holds that what has no passwords but those of the compose file is for its
// machine alone, that instances get the time that they take to stop, and that engines are
// asked by the network whether they are ready.
func TestCompose(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ports := regexp.MustCompile(`ports: \["(.*)"\]`).FindAllSubmatch(text, -1)
	if len(ports) == 0 {
		t.Error("no port is published")
	}
	for _, p := range ports {
		if !strings.HasPrefix(string(p[1]), "127.0.0.1:") {
			t.Errorf("%s is open to everybody", p[1])
		}
	}
	checks := regexp.MustCompile(`test: \[(.*)\]`).FindAllSubmatch(text, -1)
	if len(checks) != 2 {
		t.Errorf("%d engines are asked whether they are ready", len(checks))
	}
	for _, c := range checks {
		if !regexp.MustCompile(`"(-h|--host)", "(postgres|clickhouse)"`).Match(c[1]) {
			t.Errorf("%s is also answered by the server that an image starts to set itself up", c[1])
		}
	}
	grace := 10 * time.Second // Docker's own
	if m := regexp.MustCompile(`stop_grace_period: (\S+)`).FindSubmatch(text); m != nil {
		if grace, err = time.ParseDuration(string(m[1])); err != nil {
			t.Fatal(err)
		}
	}
	if want := config.Default[hosting]().Grace; grace <= want {
		t.Errorf("they are killed after %v, and may take %v", grace, want)
	}
}
