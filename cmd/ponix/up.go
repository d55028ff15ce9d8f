package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"ponix/bridge"
	"ponix/runtime/config"
	"ponix/runtime/local"
)

// upCommand starts what is not named elsewhere: an engine whose address is given
// is used and not started.
type upCommand struct {
	DataDir        string `default:".ponix" type:"path" help:"Where everything that lasts is kept."`
	CacheDir       string `type:"path" help:"Where the engines are kept, for every data directory; fetched once."`
	PostgresBin    string `type:"path" help:"Directory of a PostgreSQL's initdb and postgres (15 or newer) to start, instead of the one that is fetched."`
	NATSPort       uint16 `name:"nats-port" default:"4222" help:"Port of the NATS server that is started."`
	MQTT           bool   `name:"mqtt" help:"Start an MQTT broker as well, to try gateways on: it takes everybody, and keeps nothing."`
	MQTTPort       uint16 `name:"mqtt-port" default:"1883" help:"Port of the MQTT broker that is started."`
	NATSNodes      int    `name:"nats-nodes" default:"1" enum:"1,3,5" help:"NATS servers that are started: ${enum}. More than one are a cluster, each a process, and every stream has as many replicas (3 at most)."`
	ClickHousePort uint16 `name:"clickhouse-port" default:"9000" help:"Port of the ClickHouse that is started (native protocol)."`

	engines `set:"nats_url=" set:"postgres_host=" set:"clickhouse_url="` //nolint:staticcheck // kong wants one set for each variable
	door    `group:"gRPC"`
	hosting
}

func (c *upCommand) Run(e *env) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	began := time.Now()
	show := &progress{out: e.out}
	conf, ln, exposed, err := c.open(e)
	if err != nil {
		return err
	}
	defer ln.Close() //nolint:errcheck // the server closes it first
	if exposed {
		return &config.Error{Variable: "PONIX_GRPC_HOST", Cause: errors.New("only this machine may reach a bridge that lets in anybody: set PONIX_AUTH_JWKS or PONIX_AUTH_SECRET, too")}
	}
	stopTraces, err := exportTraces(e)
	if err != nil {
		return err
	}
	defer stopTraces()
	cluster, err := c.startEngines(e, show)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.Grace)
		defer cancel()
		err = errors.Join(err, cluster.Stop(ctx))
	}()
	stopMQTT, err := c.startMQTT(e, show)
	if err != nil {
		return err
	}
	defer stopMQTT()
	nc, err := c.connect(e, cluster)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := c.migrate(e, show); err != nil {
		return err
	}
	ready, stopMetrics, err := serveMetrics(e, c.MetricsAddr)
	if err != nil {
		return err
	}
	defer stopMetrics()
	partBegan := time.Now()
	h, names, err := host(e, nc, c.engines, c.hosting, nil)
	if err != nil {
		return err
	}
	defer h.close()
	ready(nc, h.MetricsHandler())
	show.done("functions", strings.Join(names, " "), time.Since(partBegan))
	partBegan = time.Now()
	conf.Conn = nc
	b, err := bridge.Start(ln, conf)
	if err != nil {
		return errors.Join(err, h.Stop())
	}
	grpc := c.Address(b.Addr().(*net.TCPAddr).Port)
	show.done("bridge", "gRPC on "+grpc, time.Since(partBegan))
	c.ready(e.out, grpc, conf, time.Since(began))

	select {
	case <-e.ctx.Done():
		fmt.Fprintln(e.out, e.out.paint(dim, "draining; Ctrl-C again ends at once"))
	case err = <-cluster.Failed():
	case err = <-b.Failed():
	}
	b.Stop()
	return errors.Join(err, h.Stop())
}

// startEngines starts those that have no address, and fills in theirs.
func (c *upCommand) startEngines(e *env, show *progress) (*local.Cluster, error) {
	password, err := ownPassword("PONIX_POSTGRES_PASSWORD", c.Postgres.Host, c.Postgres.Password)
	if err != nil {
		return nil, err
	}
	clickHousePassword, err := ownPassword("PONIX_CLICKHOUSE_PASSWORD", c.NativeURL, c.ClickHouse.Password)
	if err != nil {
		return nil, err
	}
	c.showOthers(show)
	cluster, err := local.Start(e.ctx, local.Options{
		DataDir: c.DataDir, CacheDir: c.CacheDir, PostgresBin: c.PostgresBin,
		NATSPort: int(c.NATSPort), NATSNodes: c.NATSNodes, PostgresPort: int(c.Postgres.Port), ClickHousePort: int(c.ClickHousePort),
		User: c.Postgres.Username, Password: password, Database: c.Postgres.Database,
		ClickHouseUser: c.ClickHouse.Username, ClickHousePassword: clickHousePassword, ClickHouseDatabase: c.ClickHouse.Database,
		SkipNATS: c.NATS.URL != "", SkipPostgres: c.Postgres.Host != "", SkipClickHouse: c.NativeURL != "",
		Report: show.event, Logger: e.log,
	})
	if err != nil {
		return nil, err
	}
	c.NATS.URL, c.NativeURL = cmp.Or(c.NATS.URL, cluster.NATSURL), cmp.Or(c.NativeURL, cluster.ClickHouseAddr)
	if c.Postgres.Host == "" {
		c.Postgres.Host, c.Postgres.Port, c.SSLMode = cluster.PostgresHost, uint16(cluster.PostgresPort), "disable"
	}
	return cluster, nil
}

// showOthers names the engines that are used and not started. Their addresses may be left in
// a shell from what an earlier start has told to export, and nothing may be there any more.
func (c *upCommand) showOthers(show *progress) {
	for _, o := range []struct{ part, variable, address string }{
		{local.NATS, "PONIX_NATS_URL", c.NATS.Redacted()},
		{local.Postgres, "PONIX_POSTGRES_HOST", c.Postgres.Host},
		{local.ClickHouse, "PONIX_CLICKHOUSE_NATIVE_URL", c.ClickHouse.Redacted()},
	} {
		if o.address != "" {
			show.event(local.Event{Part: o.part, Message: "is not started: " + o.variable + " names " + o.address})
		}
	}
}

// replicate makes the replicas those that the NATS servers which are started can hold.
func (c *upCommand) replicate() error {
	switch {
	case c.NATS.URL != "": // whose servers those are is not our affair
	case c.NATSNodes > 1:
		c.Streams.Replicas = 3
	case c.Streams.Replicas > 1:
		return &config.Error{Variable: "PONIX_NATS_REPLICAS", Cause: fmt.Errorf("one NATS server cannot hold %d replicas: --nats-nodes starts more", c.Streams.Replicas)}
	}
	return nil
}

// ownPassword is what an engine is started with that has no address: with none, nobody
// is let in.
func ownPassword(variable, address string, read func() (string, error)) (string, error) {
	password, err := read()
	if err == nil && password == "" && address == "" {
		err = &config.Error{Variable: variable, Cause: errors.New("is empty: what is started needs a password")}
	}
	return password, err
}

// startMQTT starts the broker, where it is asked for.
func (c *upCommand) startMQTT(e *env, show *progress) (stop func(), err error) {
	if !c.MQTT {
		return func() {}, nil
	}
	began := time.Now()
	b, err := local.StartBroker("127.0.0.1", int(c.MQTTPort), e.log)
	if err != nil {
		return nil, err
	}
	c.MQTTPort = uint16(b.Port)
	show.done(local.MQTT, b.URL, time.Since(began))
	return b.Stop, nil
}

// connect uses a connection within the process where NATS is in it, which halves
// the time of a call.
func (c *upCommand) connect(e *env, cluster *local.Cluster) (*nats.Conn, error) {
	var opts []nats.Option
	if cluster.NATSServer != nil {
		opts = append(opts, nats.InProcessServer(cluster.NATSServer))
	}
	return c.Connect(e.ctx, "ponix up", e.log, opts...)
}

func (c *upCommand) ready(out *output, grpc string, conf bridge.Config, took time.Duration) {
	if conf.Tokens == nil {
		who := "is on this machine"
		if c.TLSClientCA != "" {
			who = "has a certificate of " + c.TLSClientCA
		}
		fmt.Fprintln(out, out.paint(yellow, "! authentication is off: whoever "+who+" reads and changes everything; PONIX_AUTH_JWKS or PONIX_AUTH_SECRET switches it on"))
	}
	fmt.Fprintf(out, "%s  gRPC %s  NATS %s  ClickHouse %s  (%s)\n", out.paint(bold+";"+green, "ready"), grpc, c.NATS.Redacted(), c.ClickHouse.Redacted(), seconds(took))
	fmt.Fprintf(out, "%s\n", out.paint(dim, "try:"))
	self := os.Args[0]
	tries := c.elsewhere()
	if conf.Tokens != nil {
		how := "export TOKEN=…, a JSON Web Token with the role admin"
		if secret, err := c.Secret(); err == nil && secret != nil {
			how = "export TOKEN=$(" + self + " token --subject me --role admin)"
		}
		tries = append(tries, how)
		if !conf.Reflection {
			tries = append(tries, "# grpcurl finds the services where PONIX_GRPC_REFLECTION=true")
		}
	}
	tries = append(tries,
		c.grpcurl(conf)+" -d '{\"name\":\"acme\"}' "+grpc+" ponix.organization.v1.OrganizationService/CreateOrganization",
		"nats micro ls",
		self+" sql 'SELECT * FROM processed_envelopes FINAL'")
	if c.MQTT {
		tries = append(tries, fmt.Sprintf("mosquitto_pub -p %d -q 1 -t <organization_id>/<device_id> -m hello", c.MQTTPort))
	}
	for _, try := range tries {
		fmt.Fprintf(out, "  %s\n", try)
	}
}

// elsewhere tells other commands of engines that are not where they look by themselves.
func (c *upCommand) elsewhere() []string {
	var set string
	if url := c.NATS.URL; url != "nats://127.0.0.1:4222" && !strings.Contains(url, "@") { // a password is not shown
		set += " NATS_URL=" + url + " PONIX_NATS_URL=" + url
	}
	if host := c.Postgres.Host; host != "127.0.0.1" {
		set += " PONIX_POSTGRES_HOST=" + host
	}
	if port := c.Postgres.Port; port != 5432 {
		set += fmt.Sprintf(" PONIX_POSTGRES_PORT=%d", port)
	}
	if c.NativeURL != "127.0.0.1:9000" {
		set += " PONIX_CLICKHOUSE_NATIVE_URL=" + c.NativeURL
	}
	if set == "" {
		return nil
	}
	return []string{"export" + set}
}

// grpcurl is the beginning of a command that the bridge lets in.
func (c *upCommand) grpcurl(conf bridge.Config) string {
	how := "grpcurl"
	switch {
	case conf.TLS == nil:
		how += " -plaintext"
	case c.TLSClientCA != "":
		how += " -cacert <file> -cert <file> -key <file>"
	default:
		how += " -cacert <file>"
	}
	if conf.Tokens != nil {
		how += " -expand-headers -H 'authorization: Bearer ${TOKEN}'"
	}
	return how
}

// progress shows each part as it gets ready.
type progress struct{ out *output }

func (p *progress) event(ev local.Event) {
	if ev.Done {
		p.done(ev.Part, strings.TrimPrefix(ev.Message, "ready on "), ev.Took)
		return
	}
	fmt.Fprintf(p.out, "%s %s\n", p.out.paint(dim, fmt.Sprintf("… %-11s", ev.Part)), p.out.paint(dim, ev.Message))
}

func (p *progress) done(part, what string, took time.Duration) {
	fmt.Fprintf(p.out, "%s %-11s %s  %s\n", p.out.paint(green, "✓"), part, what, p.out.paint(dim, seconds(took)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
