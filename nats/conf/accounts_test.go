package conf_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"

	"ponix/functions"
	"ponix/migrations"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
	"ponix/runtime/wire"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// secured is a server with secured.conf, and one device.
type secured struct {
	config.NATS
	log log
}

var users = regexp.MustCompile(`\{user: "([^"]+)", password: \$(\w+)`)

// configure makes a directory with the configurations and what they need of the environment, so
// its tests are not parallel.
func configure(t *testing.T) (dir string, authority *runtimetest.Authority) {
	t.Helper()
	dir, authority = t.TempDir(), runtimetest.NewAuthority(t)
	for _, name := range []string{"node.conf", "secured.conf", "accounts.conf", "secured-cluster.conf"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte(`# {user: "device-1"`), []byte(`{user: "device-1"`))
		write(t, filepath.Join(dir, name), text)
		for _, u := range users.FindAllSubmatch(text, -1) {
			t.Setenv(string(u[2]), `"password-of-`+string(u[1])+`"`)
		}
	}
	cert, key := authority.Issue(t, "server")
	t.Setenv("NATS_TLS_CERT", cert)
	t.Setenv("NATS_TLS_KEY", key)
	t.Setenv("NATS_TLS_CA", authority.CA)
	return dir, authority
}

// run runs a server with one of the configurations, changed by change.
func run(t *testing.T, file string, change func(*server.Options)) *server.Server {
	t.Helper()
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port, o.HTTPPort, o.StoreDir, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, 0, t.TempDir(), true, true
	change(o)
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return srv
}

// start runs the server.
func start(t *testing.T) *secured {
	t.Helper()
	dir, authority := configure(t)
	srv := run(t, filepath.Join(dir, "secured.conf"), func(*server.Options) {})
	s := &secured{NATS: config.NATS{URL: srv.ClientURL(), CA: authority.CA, PasswordFile: filepath.Join(dir, "password")}}
	s.Cert, s.Key = authority.Issue(t, "client")
	return s
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// connect is as ponix connects, as one of the users.
func (s *secured) connect(t *testing.T, user string) *nats.Conn {
	t.Helper()
	c := s.NATS
	c.Username = user
	write(t, c.PasswordFile, []byte("password-of-"+user+"\n"))
	nc, err := c.Connect(t.Context(), user, slog.New(slog.NewTextHandler(&s.log, nil)).With("user", user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// log collects what connections complain of.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// engines makes the two other engines ready, with a device.
func engines(t *testing.T) functions.Deps {
	t.Helper()
	dsn, options := runtimetest.Postgres(t), runtimetest.ClickHouse(t)
	pg, err := migrations.Postgres(dsn)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := migrations.ClickHouse(options, migrations.Storage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*migrations.Database{pg, ch} {
		if _, err := d.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.Close() //nolint:errcheck // what matters is committed
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, sql := range []string{
		"INSERT INTO organizations (id, name) VALUES ('acme', 'acme')",
		`INSERT INTO end_devices (id, organization_id, name, payload_conversion) VALUES ('device-1', 'acme', 'one', '{"n": input.size()}')`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	db, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // the test is over
	return functions.Deps{Postgres: pool, ClickHouse: db}
}

// host runs each function as the user of its name.
func (s *secured) host(t *testing.T, deps functions.Deps, c functions.Config) {
	t.Helper()
	deps.NATS = s.connect(t, "operator")
	all, err := functions.All(deps, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.Prepare(t.Context(), runtime.Config{Conn: deps.NATS, Streams: c.Streams}, all...); err != nil {
		t.Fatal(err)
	}
	for i, f := range all {
		deps.NATS = s.connect(t, f.Name)
		own, err := functions.All(deps, c)
		if err != nil {
			t.Fatal(err)
		}
		h, err := runtime.Start(t.Context(), runtime.Config{Conn: deps.NATS, Streams: c.Streams, Logger: slog.New(slog.NewTextHandler(&s.log, nil))}, own[i])
		if err != nil {
			t.Fatalf("%s: %v\n%s", f.Name, err, s.log.String())
		}
		t.Cleanup(func() {
			if err := h.Stop(); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		})
	}
}

// TestFunctionsWorkWithTheirUsers sends envelopes through all of Ponix, and holds
// that nothing was refused on the way, the purge of what is settled included.
func TestFunctionsWorkWithTheirUsers(t *testing.T) {
	s := start(t)
	c := config.Default[functions.Config]()
	c.Streams.OwnSubject, c.Streams.ReplayWindow = true, time.Millisecond
	s.host(t, engines(t), c)
	bridge := wire.NewClient(s.connect(t, "bridge"))
	if _, err := organizationv1.NewOrganizationServiceClient(bridge).CreateOrganization(t.Context(), &organizationv1.CreateOrganizationRequest{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	g, err := gatewayv1.NewGatewayServiceClient(bridge).CreateGateway(t.Context(), &gatewayv1.CreateGatewayRequest{
		OrganizationId: "acme", Name: "roof", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: "mqtt://127.0.0.1:1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Its event goes from cdc to gateway-state, and mqtt-ingest takes a lease on it.
	runtimetest.Eventually(t, 30*time.Second, func() error {
		resp, err := gatewayv1.NewGatewayStateServiceClient(bridge).GetGatewayState(t.Context(), &gatewayv1.GetGatewayStateRequest{GatewayId: g.Gateway.GatewayId})
		if err == nil && resp.State.Owner == "" {
			err = errors.New("nobody owns it")
		}
		return err
	})
	envelopes := envelopev1.NewEnvelopeServiceClient(bridge)
	if _, err := envelopes.PublishRawEnvelopes(t.Context(), &envelopev1.PublishRawEnvelopesRequest{Envelopes: []*envelopev1.RawEnvelope{{OrganizationId: "acme", DeviceId: "device-1", Payload: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	device, err := jetstream.New(s.connect(t, "device-1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"device-1", "device-2"} { // itself, and as another
		data, err := protojson.Marshal(&envelopev1.RawEnvelope{OrganizationId: "acme", DeviceId: name, Payload: []byte("22")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := device.Publish(t.Context(), "raw_envelopes.acme.device-1", data); err != nil {
			t.Fatal(err)
		}
	}
	operator, err := jetstream.New(s.connect(t, "operator"))
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		rows, err := envelopes.ListProcessedEnvelopes(t.Context(), &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: "acme", EndDeviceId: "device-1"})
		if err == nil && len(rows.Envelopes) != 2 {
			err = fmt.Errorf("%d rows", len(rows.Envelopes))
		}
		return err
	})
	want := map[string]uint64{"raw_envelopes": 0, "processed_envelopes": 0, "dead_letters": 1}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		var errs []error
		for name, n := range want {
			stream, err := operator.Stream(t.Context(), name)
			if err == nil && stream.CachedInfo().State.Msgs != n {
				err = fmt.Errorf("%s has %d messages, want %d", name, stream.CachedInfo().State.Msgs, n)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	letter, err := operator.Stream(t.Context(), "dead_letters")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := letter.GetMsg(t.Context(), 1); err != nil || m.Subject != "dead_letters.convert.subject_mismatch" {
		t.Errorf("the letter is %v, %v", m, err)
	}
	if strings.Contains(strings.ToLower(s.log.String()), "violation") {
		t.Errorf("something was refused:\n%s", s.log.String())
	}
}
