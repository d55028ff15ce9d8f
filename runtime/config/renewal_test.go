package config_test

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestWhatCannotBeRenewedIsTold holds that the log tells, once, that a changed file cannot be
// used, and that it can be again. The log is everybody's, so the test is not parallel.
func TestWhatCannotBeRenewedIsTold(t *testing.T) {
	var log runtimetest.Text
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	count := func(of string, warnings, infos int) {
		t.Helper()
		if w, i := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); w != warnings || i != infos {
			t.Errorf("%s: the log is\n%s", of, log.String())
		}
	}

	err := error(nil)
	get, _ := config.Renewed(func() (int, error) { return 0, err })
	get()
	count("nothing has changed", 0, 0)
	err = errors.New("unreadable")
	get()
	get()
	count("twice", 1, 0)
	err = nil
	get()
	get()
	count("again", 1, 1)

	cert, key := runtimetest.NewAuthority(t).Issue(t, "server")
	c, err := config.GRPC{TLSCert: cert, TLSKey: key}.TLS()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(cert, text, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond) // for which it is not looked at again
		if pair, err := c.GetCertificate(nil); err != nil || pair == nil {
			t.Errorf("got %v, %v", pair, err)
		}
	}
	put(nil)
	put(nil)
	count("no certificate", 2, 1)
	if !strings.Contains(log.String(), cert) {
		t.Errorf("the log is\n%s", log.String())
	}
	put(text)
	count("a certificate", 2, 2)
}
