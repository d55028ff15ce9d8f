package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ponix/runtime/runtimetest"
)

// TestErrorsArePlain holds what commands say where they find NATS, and nothing else.
func TestErrorsArePlain(t *testing.T) {
	t.Parallel()
	env := []string{"PONIX_NATS_URL=" + runtimetest.NATSServer(t).ClientURL()}
	for args, want := range map[string]string{
		"gateway":                            "exit code 1: ponix: no instance serves ponix.organization.v1.OrganizationService",
		"gateway status":                     "exit code 1: ponix: no instance serves ponix.organization.v1.OrganizationService",
		"gateway status --organization acme": "exit code 1: ponix: no instance serves ponix.gateway.v1.GatewayStateService",
		"tail":                               "exit code 1: ponix: there is no stream processed_envelopes: ponix serve and ponix streams make it",
		"dlq":                                "exit code 1: ponix: there is no stream dead_letters: ponix serve and ponix streams make it",
		"ps --nats-url=nats://127.0.0.1:1":   "exit code 1: ponix: NATS at nats://127.0.0.1:1: nats: no servers available for connection: `ponix up` may not be running, or PONIX_NATS_URL may name another place",
		"sql --clickhouse-native-url=127.0.0.1:1 SHOW": "exit code 1: ponix: ClickHouse at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused: `ponix up` may not be running, or PONIX_CLICKHOUSE_NATIVE_URL may name another place",
		"cdc status": "exit code 1: ponix: no instance serves ponix.cdc.v1.CdcService",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			if out, err := call(t, env, strings.Fields(args)...); err == nil || err.Error() != want || out != "" {
				t.Errorf("got %v and %q, want %s", err, out, want)
			}
		})
	}
}

// TestSQLBeforeItRuns holds that nothing is said of a statement that was not sent: that server
// hangs up before.
func TestSQLBeforeItRuns(t *testing.T) {
	t.Parallel()
	at := runtimetest.HangsUp(t)
	for _, statement := range []string{"SELECT 1", "OPTIMIZE TABLE t"} {
		_, err := call(t, []string{"PONIX_CLICKHOUSE_NATIVE_URL=" + at}, "sql", statement)
		if err == nil || !strings.Contains(err.Error(), "exit code 1: ponix: ClickHouse at "+at+": handshake: ") {
			t.Errorf("%s: got %v", statement, err)
		}
	}
}

// TestWithoutCertificate holds that the variable is named of a certificate which a server asks for.
func TestWithoutCertificate(t *testing.T) {
	t.Parallel()
	a := runtimetest.NewAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.Issue(t, "server"))
	if err != nil {
		t.Fatal(err)
	}
	at := runtimetest.Listen(t, func(c net.Conn) {
		tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}).Handshake() //nolint:errcheck // it fails
	})
	env := []string{"PONIX_CLICKHOUSE_TLS=on", "PONIX_CLICKHOUSE_CA=" + a.CA, "PONIX_CLICKHOUSE_NATIVE_URL=" + at}
	for _, args := range []string{"sql SHOW", "migrate status clickhouse", "migrate status clickhouse --log-format=json"} {
		if _, err := call(t, env, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), "tls: certificate required: ours is meant, that of PONIX_CLICKHOUSE_CERT") {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

// TestWrongSettings holds that what an engine does not take is told of with its variable.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	pg, err := url.Parse(runtimetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	ch := runtimetest.ClickHouse(t)
	for change, engine := range map[string]string{
		"PONIX_POSTGRES_PASSWORD=wrong": "postgres", "PONIX_POSTGRES_USERNAME=nobody": "postgres", "PONIX_POSTGRES_DATABASE=nowhere": "postgres",
		"PONIX_CLICKHOUSE_PASSWORD=wrong": "clickhouse", "PONIX_CLICKHOUSE_DATABASE=nowhere": "clickhouse",
	} {
		variable, _, _ := strings.Cut(change, "=")
		env := []string{"PONIX_POSTGRES_HOST=" + pg.Host, "PONIX_CLICKHOUSE_NATIVE_URL=" + ch.Addr[0], "PONIX_CLICKHOUSE_DATABASE=" + ch.Auth.Database, change}
		_, err := call(t, env, "migrate", "status", engine)
		if err == nil || !strings.Contains(err.Error(), ": see PONIX_") || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: got %v", change, err)
		}
	}
}

// TestErrorsAreJSON holds that where the log is JSON, the error that a command ends with is
// a line of it.
func TestErrorsAreJSON(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{"ps --nats-url=nats://127.0.0.1:1": "exit code 1: ", "bridge --grpc-max-message=1": "exit code 2: "} {
		_, err := call(t, []string{"PONIX_LOG_FORMAT=json"}, strings.Fields(args)...)
		var line struct{ Level, Error string }
		if err == nil {
			t.Errorf("%s: it goes", args)
		} else if text, ok := strings.CutPrefix(err.Error(), want); !ok || json.Unmarshal([]byte(text), &line) != nil || line.Level != "ERROR" || line.Error == "" {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

// TestWithoutJetStream holds that commands say what a NATS server does not have.
func TestWithoutJetStream(t *testing.T) {
	t.Parallel()
	env := []string{"PONIX_NATS_URL=" + runtimetest.NATSServer(t, func(o *server.Options) { o.JetStream = false }).ClientURL()}
	for _, command := range []string{"dlq", "tail", "streams"} {
		if _, err := call(t, env, command); err == nil || !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), "JetStream may be off") {
			t.Errorf("%s: got %v", command, err)
		}
	}
}

// TestRefusedByNATS holds that a user who may not is told of what at once, and of nothing
// else.
func TestRefusedByNATS(t *testing.T) {
	t.Parallel()
	may := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{">"}}}
	srv := runtimetest.NATSServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "user", Password: canary, Permissions: may}}
	})
	env := []string{"PONIX_NATS_URL=" + srv.ClientURL(), "PONIX_NATS_USERNAME=user", "PONIX_NATS_PASSWORD=" + canary}
	for args, subject := range map[string]string{
		"ps --wait 1h": "$SRV.STATS", "streams": "$JS.API.STREAM.", "tail": "$JS.API.", "dlq": "$JS.API.STREAM.INFO.",
		"dlq drop 1": "$JS.API.STREAM.INFO.", "send --device d --hex 00": "ponix.end_device.", "gateway": "ponix.organization.", "cdc": "ponix.cdc.",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			out, err := call(t, env, strings.Fields(args)...)
			want := `exit code 1: ponix: nats: permissions violation: Permissions Violation for Publish to "` + subject
			if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") || out != "" || time.Since(began) > 5*time.Second {
				t.Errorf("got %v and %q after %v, want %s", err, out, time.Since(began), want)
			}
		})
	}
}

// TestInterruptedBeforeAnswer has a command end while it waits for NATS servers, each of which
// takes the connection and says nothing.
func TestInterruptedBeforeAnswer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test is over
	servers := strings.Repeat("nats://"+silent.Addr().String()+",", 30)
	p := start(t, []string{"PONIX_NATS_URL=" + strings.TrimSuffix(servers, ",")}, "ps")
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // likewise
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	if p.ProcessState.ExitCode() != 1 || p.log.String() != "ponix: interrupt signal received\n" {
		t.Errorf("it ended with %v and %s", p.err, p.log)
	}
}

// TestInterrupted has commands end long before what they wait for.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t)
	asked := make(chan *nats.Msg, 1)
	if _, err := runtimetest.Connect(t, srv).ChanSubscribe("$SRV.STATS", asked); err != nil {
		t.Fatal(err)
	}
	o := runtimetest.ClickHouse(t)
	db, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // the test is over
	for name, tt := range map[string]struct {
		env, args []string
		waits     func() error
	}{
		"ps": {[]string{"PONIX_NATS_URL=" + srv.ClientURL()}, []string{"ps", "--wait", "1h"}, func() error {
			if len(asked) == 0 {
				return errors.New("it does not ask")
			}
			return nil
		}},
		"sql": {
			[]string{"PONIX_CLICKHOUSE_NATIVE_URL=" + o.Addr[0], "PONIX_CLICKHOUSE_DATABASE=" + o.Auth.Database, "PONIX_CLICKHOUSE_USERNAME=" + o.Auth.Username, "PONIX_CLICKHOUSE_PASSWORD=" + o.Auth.Password},
			[]string{"sql", "SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1"},
			func() error {
				var n uint64
				err := db.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'").Scan(&n)
				if err == nil && n == 0 {
					err = errors.New("the statement does not run")
				}
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, tt.env, tt.args...)
			runtimetest.Eventually(t, 10*time.Second, tt.waits)
			if err := p.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.ended:
			case <-time.After(5 * time.Second):
				t.Fatal("it goes on")
			}
			if p.ProcessState.ExitCode() != 1 || p.out.String() != "" || p.log.String() != "ponix: interrupt signal received\n" {
				t.Errorf("it ended with %v and %s%s", p.err, p.out, p.log)
			}
		})
	}
}
