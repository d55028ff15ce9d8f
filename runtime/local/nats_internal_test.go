package local

import (
	"log/slog"
	"strings"
	"testing"
)

// TestWarningsOfAStop holds that a server which is told to stop does not alarm anybody by
// what it cannot finish any more.
func TestWarningsOfAStop(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &natsLog{log: slog.New(slog.NewTextHandler(&out, nil))}
	l.Warnf("at %s", "first")
	l.stopping.Store(true)
	l.Warnf("at %s", "last")
	l.Errorf("an %s", "error")
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `level=WARN msg="at first"`) || !strings.Contains(got, `level=ERROR msg="an error"`) {
		t.Errorf("the log is\n%s", got)
	}
}
