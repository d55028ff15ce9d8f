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

func everybodysLog(t *testing.T) *runtimetest.Text {
	t.Helper()
	var log runtimetest.Text
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

// TestWhatCannotBeRenewedIsTold holds that the log tells, once, that a changed file cannot be
// used, and that it can be again. The log is everybody's, so the test is not parallel.
func TestWhatCannotBeRenewedIsTold(t *testing.T) {
	log := everybodysLog(t)
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

// TestExpiry holds that the log tells of a certificate that has expired, or soon will have: at
// the start, and once where it is read again.
func TestExpiry(t *testing.T) {
	log, told := everybodysLog(t), 0
	news := func() string {
		all := log.String()
		defer func() { told = len(all) }()
		return all[told:]
	}
	a := runtimetest.NewAuthority(t)
	issue := func(left time.Duration) (cert, key string) { return a.IssueUntil(t, "x", time.Now().Add(left)) }
	for what, left := range map[string]time.Duration{"has expired": -time.Minute, "expires soon": time.Minute, "": time.Hour} {
		cert, key := issue(left)
		ch := config.Default[config.ClickHouse]()
		ch.TLS, ch.Cert, ch.Key = "on", cert, key
		for variable, read := range map[string]func() error{
			"PONIX_GRPC_TLS_CERT":   func() error { _, err := config.GRPC{TLSCert: cert, TLSKey: key}.TLS(); return err },
			"PONIX_CLICKHOUSE_CERT": func() error { _, err := ch.Options(); return err },
			"PONIX_POSTGRES_SSLCERT": func() error {
				_, err := config.Postgres{Host: "h", Port: 1, SSLMode: "require", Cert: cert, Key: key}.DSN()
				return err
			},
			"PONIX_NATS_CERT": func() error {
				nc, err := config.NATS{URL: runtimetest.NATSServer(t).ClientURL(), Cert: cert, Key: key}.Dial(t.Context(), "test")
				if err == nil {
					nc.Close()
				}
				return nil // it has no TLS
			},
		} {
			if err := read(); err != nil {
				t.Fatal(err)
			}
			want := 0
			if what != "" {
				want = 1
			}
			if got := news(); strings.Count(got, "level=WARN") != want || want > 0 && !strings.Contains(got, `"a certificate `+what+`" variable=`+variable+" file="+cert+" at=") {
				t.Errorf("%s %s: the log is %q", variable, what, got)
			}
		}
	}

	cert, key := issue(-time.Minute)
	c, err := config.GRPC{TLSCert: cert, TLSKey: key}.TLS()
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []time.Duration{-time.Hour / 2, 0, time.Hour, time.Minute} {
		if left != 0 {
			issue(left)
		}
		time.Sleep(1100 * time.Millisecond) // for which it is not looked at again
		if _, err := c.GetCertificate(nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := news(); strings.Count(got, "has expired") != 2 || strings.Count(got, "expires soon") != 1 {
		t.Errorf("the log is\n%s", got)
	}
}
