package conf_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestSecuredCluster holds that the servers of secured-cluster.conf find each other, that clients
// are told of them by their names, and that no client's certificate makes a server.
func TestSecuredCluster(t *testing.T) {
	dir, clients := configure(t)
	routes := runtimetest.NewAuthority(t)
	cert, key := routes.Issue(t, "route")
	t.Setenv("NATS_ROUTES_CERT", cert)
	t.Setenv("NATS_ROUTES_KEY", key)
	t.Setenv("NATS_ROUTES_CA", routes.CA)
	servers := make([]*server.Server, 2)
	for i, name := range []string{"ponix-1", "ponix-2"} {
		t.Setenv("NATS_NAME", name)
		servers[i] = run(t, filepath.Join(dir, "secured-cluster.conf"), func(o *server.Options) {
			if len(o.Routes) != 3 || o.ServerName != name || o.SyncInterval != 100*time.Millisecond || o.MaxPayload != 8<<20 || o.NoSublistCache {
				t.Errorf("%s: name %q, %d routes, sync_interval %v, max_payload %d, disable_sublist_cache %v", name, o.ServerName, len(o.Routes), o.SyncInterval, o.MaxPayload, o.NoSublistCache)
			}
			other := "127.0.0.1:1" // nobody: JetStream wants a route, also of the first
			if i > 0 {
				other = servers[0].ClusterAddr().String()
			}
			o.Cluster.Host, o.Cluster.Port, o.Routes = "127.0.0.1", server.RANDOM_PORT, []*url.URL{{Scheme: "nats", Host: other}}
		})
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if servers[0].NumRoutes() == 0 || servers[1].NumRoutes() == 0 {
			return errors.New("they have not found each other")
		}
		return nil
	})
	clientCert, clientKey := clients.Issue(t, "client")
	client := secured{NATS: config.NATS{URL: servers[0].ClientURL(), CA: clients.CA, Cert: clientCert, Key: clientKey, PasswordFile: filepath.Join(dir, "password")}}
	nc := client.connect(t, "bridge")
	runtimetest.Eventually(t, 20*time.Second, func() error { // by their names, which are in their certificates
		if told := nc.DiscoveredServers(); !slices.ContainsFunc(told, func(u string) bool { return strings.Contains(u, "//ponix-2:") }) {
			return fmt.Errorf("clients are told of %v", told)
		}
		return nil
	})
	for name, who := range map[string]struct {
		cert, key string
		in        bool
	}{
		"a server": {cert, key, true},
		"a client": {clientCert, clientKey, false},
		"nobody":   {},
	} {
		if err := join(servers[0].ClusterAddr().String(), who.cert, who.key); who.in != (err == nil) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// join does as a server that joins, up to where it is let in. By TLS 1.2 it is the handshake that
// fails where it is not.
func join(addr, cert, key string) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is written
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	how := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12} //nolint:gosec // who the server is does not matter here
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		how.Certificates = []tls.Certificate{pair}
	}
	return tls.Client(c, how).Handshake()
}
