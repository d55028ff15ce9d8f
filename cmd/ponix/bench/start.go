package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/wire"
)

// Start measures how long it takes from the start of a process until it is of use:
// `ponix up` on a data directory that was used before, and `ponix serve` with every
// function on engines that run. cacheDir is where `ponix up` finds the engines.
func Start(ctx context.Context, w *World, cacheDir string) (Suite, error) {
	if err := w.tables(ctx); err != nil {
		return Suite{}, err
	}
	return Suite{
		Name: "start", About: "from the start of a process until it is of use",
		Metrics: []Metric{Took, RSS},
		Cases: []Case{
			{"ponix up, warm → ready", func(ctx context.Context, r *Round) error {
				return upReady(ctx, r, filepath.Join(w.dir, "up"), cacheDir)
			}},
			{"ponix serve → first answer", w.firstAnswer},
		},
		Goals: []Goal{
			{Of: "ponix up, warm → ready", Metric: Took, Bound: 3000, AtMost: true},
			{Of: "ponix serve → first answer", Metric: Took, Bound: 150, AtMost: true},
		},
	}, nil
}

// startTime is how long a start may take at most: the first round of `ponix up`
// makes the databases.
const startTime = 90 * time.Second

// upReady times `ponix up`. The first round makes the data directory.
func upReady(ctx context.Context, r *Round, dir, cacheDir string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := []string{"up", "--data-dir", dir, "--nats-port", "0", "--postgres-port", "0", "--clickhouse-port", "0", "--grpc-port", "0"}
	if cacheDir != "" {
		args = append(args, "--cache-dir", cacheDir)
	}
	r.Start()
	began := time.Now()
	c, err := spawn(ctx, nil, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.says(ctx, "\nready  "); err != nil {
		return err
	}
	return c.started(r, began)
}

// firstAnswer times `ponix serve` to the answer of a request that needs PostgreSQL.
func (w *World) firstAnswer(ctx context.Context, r *Round) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	nc, err := nats.Connect(w.NATSURL)
	if err != nil {
		return err
	}
	defer nc.Close()
	organizations := organizationv1.NewOrganizationServiceClient(wire.NewClient(nc))
	r.Start()
	began := time.Now()
	c, err := w.serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for {
		_, err := organizations.GetOrganization(ctx, &organizationv1.GetOrganizationRequest{OrganizationId: organization})
		if err == nil {
			return c.started(r, began)
		}
		if status.Code(err) != codes.Unavailable {
			return err
		}
		if err := c.alive(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // nobody listens yet
	}
}

// started notes how long a start took.
func (c *child) started(r *Round, began time.Time) error {
	r.Set(Took, float64(time.Since(began).Microseconds())/1000)
	r.spent = readUsage().minus(r.from)
	used, err := c.rss()
	r.Set(RSS, used)
	return err
}
