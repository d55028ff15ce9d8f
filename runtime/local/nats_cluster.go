package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// natsCluster is several servers, each a process.
type natsCluster []*NATSNode

// startNATSCluster starts Options.NATSNodes servers that replicate to each other.
// The first has Options.NATSPort; the others any that are free.
func (c *Cluster) startNATSCluster(ctx context.Context) error {
	o := c.options
	var nodes natsCluster
	for i := range o.NATSNodes {
		name := "ponix-" + strconv.Itoa(i+1)
		nodes = append(nodes, &NATSNode{Name: name, DataDir: filepath.Join(o.DataDir, clusterFolder, name), Host: o.Host, Sync: o.JetStreamSync})
		if err := awaitEngine(ctx, nodes[i].DataDir, o.Logger); err != nil { // it may have the ports
			return err
		}
	}
	ports, err := freePorts(o.Host, append([]int{o.NATSPort}, make([]int, 2*o.NATSNodes-1)...), "--nats-port", "--nats-url")
	if err != nil {
		return err
	}
	routes := ports[o.NATSNodes:]
	var group errgroup.Group
	var urls []string
	for i, n := range nodes {
		n.Port, n.RoutePort, n.Routes = ports[i], routes[i], routes
		urls = append(urls, n.URL())
		group.Go(func() error { return n.Start(ctx) })
	}
	err = group.Wait()
	c.nats, c.NATSURL = nodes, strings.Join(urls, ",")
	if err != nil {
		return err
	}
	lost := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { lost <- <-n.failed }()
	}
	go func() { // the others go on, as long as they are most
		for range len(nodes) / 2 {
			o.Logger.Error("a node of NATS is lost, the others go on; it comes back with the next start", "error", <-lost)
		}
		c.failed <- <-lost
	}()
	return awaitReplicas(ctx, c.NATSURL, len(nodes))
}

// awaitReplicas returns when streams can be made that so many servers hold: the leader has
// to hear of each of them first.
func awaitReplicas(ctx context.Context, urls string, replicas int) error {
	const probe = "ponix_up"
	return untilReady(ctx, urls, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: probe, Subjects: []string{probe}, Replicas: replicas, Storage: jetstream.MemoryStorage})
		if err != nil {
			return err
		}
		return js.DeleteStream(ctx, probe)
	})
}

// AwaitJetStream returns when JetStream answers at these addresses: a cluster has
// to elect a leader first.
func AwaitJetStream(ctx context.Context, urls string) error {
	return untilReady(ctx, urls, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.AccountInfo(ctx)
		return err
	})
}

func untilReady(ctx context.Context, urls string, probe func(context.Context, jetstream.JetStream) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for {
		try, done := context.WithTimeout(ctx, time.Second)
		err = probe(try, js)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("JetStream did not get ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (nodes natsCluster) stop(ctx context.Context) error {
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = n.Stop(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
