package cdc_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/local"
	"ponix/runtime/runtimetest"
)

// changes is how many the test of the kills makes; 100000 is the large run.
var changes = flag.Int("changes", 5_000, "changes that TestKilledOwners makes")

// TestKilledOwners kills the owner five times with -9 and restarts PostgreSQL once
// while changes go on: each arrives, in the order of the commits, once.
func TestKilledOwners(t *testing.T) {
	t.Parallel()
	pg := startServer(t)
	e := newEnvOn(t, pg.dsn)
	all := []*process{e.process(t), e.process(t)}
	e.owner(t, all)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', '0')")
	done := make(chan error, 1)
	go func() { done <- e.count(context.WithoutCancel(t.Context()), *changes) }()
	for step := 1; step <= 6; step++ {
		e.reached(t, *changes*step/8)
		if step == 3 {
			pg.restart(t)
			continue
		}
		victim := e.owner(t, all)
		all[victim].kill()
		all[victim] = e.process(t)
	}
	runtimetest.Eventually(t, 2*time.Minute, func() error {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return nil
		default:
			return errNotYet
		}
	})
	e.wantVersions(t, *changes)
}

// count updates the row so many times, each time with the next number and in a
// transaction of its own, and goes on where it was when PostgreSQL fails it.
func (e *env) count(ctx context.Context, upTo int) error {
	const chunk = 100
	for deadline := time.Now().Add(2 * time.Minute); ; {
		var at string
		err := e.db.QueryRow(ctx, "SELECT name FROM organizations WHERE id = 'o'").Scan(&at)
		n, _ := strconv.Atoi(at)
		if err == nil && n >= upTo {
			return nil
		}
		if err == nil {
			_, err = e.db.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN
				FOR i IN %d..%d LOOP UPDATE organizations SET name = i WHERE id = 'o'; COMMIT; END LOOP;
			END $$`, n+1, min(n+chunk, upTo)))
		}
		if err != nil && time.Now().After(deadline) {
			return err
		}
	}
}

// patience is above the two minutes for which a server that was a stream's leader, lost that
// and is it again refuses an id that it had taken and not stored (nats-server 2.15.2, error
// 10158).
const patience = 3 * time.Minute

// reached waits until there are so many events.
func (e *env) reached(t testing.TB, n int) {
	t.Helper()
	runtimetest.Eventually(t, patience, func() error {
		s, err := e.js.Stream(t.Context(), "organizations")
		if err != nil {
			return err
		}
		if got := s.CachedInfo().State.LastSeq; got < uint64(n) {
			return fmt.Errorf("%d of %d events", got, n)
		}
		return nil
	})
}

// wantVersions holds the stream to the events of the row's numbers from 0 on, each
// once and in order.
func (e *env) wantVersions(t testing.TB, upTo int) {
	t.Helper()
	all := e.eventsWithin(t, "organizations", upTo+1, patience)
	for i, ev := range all {
		if name := decode(t, ev, &organizationv1.Organization{}).Name; number(t, name) != i {
			t.Fatalf("event %d of %d has number %s", i, len(all), name)
		}
	}
	if len(all) != upTo+1 {
		t.Errorf("%d events, want %d", len(all), upTo+1)
	}
	ids := make([]string, 0, len(all))
	for _, ev := range all {
		ids = append(ids, ev.id)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(all) {
		t.Error("ids are not unique")
	}
}

// server is a PostgreSQL of the test's own, which can be restarted.
type server struct {
	options local.Options
	cluster *local.Cluster
	dsn     string
}

func startServer(t testing.TB) *server {
	t.Helper()
	s := &server{options: local.Options{DataDir: t.TempDir(), PostgresPort: runtimetest.Port(t), Ephemeral: true, SkipNATS: true, SkipClickHouse: true, Logger: slog.New(slog.DiscardHandler)}}
	s.start(t)
	s.dsn = s.cluster.PostgresURL("")
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	var err error
	if s.cluster, err = local.Start(ctx, s.options); err != nil {
		t.Fatal(err)
	}
}

func (s *server) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := s.cluster.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func (s *server) restart(t testing.TB) {
	t.Helper()
	s.stop(t)
	s.start(t)
}
