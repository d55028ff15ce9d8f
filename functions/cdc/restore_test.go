package cdc_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/runtimetest"
)

// wantEventOf waits for an event of organizations that has this text in it.
func (e *env) wantEventOf(t *testing.T, text string) {
	t.Helper()
	runtimetest.Eventually(t, 20*time.Second, func() error {
		s, err := e.js.Stream(t.Context(), "organizations")
		if err != nil {
			return err
		}
		for n := s.CachedInfo().State.LastSeq; n >= max(1, s.CachedInfo().State.FirstSeq); n-- {
			m, err := s.GetMsg(t.Context(), n)
			if err == nil && bytes.Contains(m.Data, []byte(text)) {
				return nil
			}
		}
		st, err := e.status(t)
		return errors.Join(fmt.Errorf("no event has %q; %v", text, st), err)
	})
}

// TestRestoredFromACopy puts PostgreSQL back to a copy of its files: what is written
// then is at places of the log whose events were published before, and is no repeat. What
// was lost with it is told, also where the log has grown past it before anybody looks.
func TestRestoredFromACopy(t *testing.T) {
	t.Parallel()
	for name, promoted := range map[string]bool{"as it was": false, "promoted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := startServer(t)
			e := newEnvOn(t, pg.dsn)
			stop := e.instance(t)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'first')")
			e.wantEventOf(t, "first")
			pg.stop(t)
			dir, backup := pg.options.DataDir, filepath.Join(t.TempDir(), "backup")
			if err := exec.Command("cp", "-a", dir, backup).Run(); err != nil { // with owners and modes
				t.Fatal(err)
			}
			pg.start(t)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) SELECT 'lost' || n, 'lost' || n FROM generate_series(1, 2000) AS n")
			e.wantEventOf(t, "lost2000")
			time.Sleep(time.Second) // until that is noted
			if promoted {
				stop()
			}
			pg.stop(t)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(backup, dir); err != nil {
				t.Fatal(err)
			}
			if promoted {
				promote(t, filepath.Join(dir, "postgres"))
			}
			pg.start(t)
			if promoted {
				runtimetest.Eventually(t, 20*time.Second, func() error {
					if recovered, err := e.ask(t, "SELECT NOT pg_is_in_recovery()"); err != nil || !recovered {
						return fmt.Errorf("it recovers: %w", err)
					}
					return nil
				})
				e.exec(t, "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 4000000))")
				e.instance(t)
			}
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('new', 'after it')")
			e.wantEventOf(t, "after it")
			all := e.events(t, "organizations", 1)
			if !slices.ContainsFunc(all, func(ev got) bool { return ev.operation == streams.Complete }) {
				t.Error("nobody is told that rows are gone")
			}
		})
	}
}

// TestRestoredBeforeItWasNoted is TestRestoredFromACopy where whoever published what is
// lost was killed before the state said so: the streams alone know of it.
func TestRestoredBeforeItWasNoted(t *testing.T) {
	t.Parallel()
	for name, promoted := range map[string]bool{"as it was": false, "promoted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := startServer(t)
			e := newEnvOn(t, pg.dsn)
			stop := e.instance(t)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'first')")
			e.wantEventOf(t, "first")
			stop()
			e.free(t)
			kv, err := e.js.KeyValue(t.Context(), e.streams.CaptureState().Bucket)
			if err != nil {
				t.Fatal(err)
			}
			noted, err := kv.Get(t.Context(), e.config.Slot)
			if err != nil {
				t.Fatal(err)
			}
			pg.stop(t)
			dir, backup := pg.options.DataDir, filepath.Join(t.TempDir(), "backup")
			if err := exec.Command("cp", "-a", dir, backup).Run(); err != nil { // with owners and modes
				t.Fatal(err)
			}
			pg.start(t)
			stop = e.instance(t)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) SELECT 'lost' || n, 'lost' || n FROM generate_series(1, 2000) AS n")
			e.wantEventOf(t, "lost2000")
			stop()
			if _, err := kv.Put(t.Context(), e.config.Slot, noted.Value()); err != nil {
				t.Fatal(err)
			}
			pg.stop(t)
			if err := errors.Join(os.RemoveAll(dir), os.Rename(backup, dir)); err != nil {
				t.Fatal(err)
			}
			if promoted {
				promote(t, filepath.Join(dir, "postgres"))
			}
			pg.start(t)
			runtimetest.Eventually(t, 20*time.Second, func() error {
				if recovered, err := e.ask(t, "SELECT NOT pg_is_in_recovery()"); err != nil || !recovered {
					return fmt.Errorf("it recovers: %w", err)
				}
				return nil
			})
			fill := 10_000 // past what was noted, not past what is lost
			if promoted {
				fill = 4_000_000 // past both
			}
			e.exec(t, "SELECT pg_logical_emit_message(false, 'fill', repeat('x', $1))", fill)
			e.instance(t)
			e.streaming(t)
			e.exec(t, "INSERT INTO organizations (id, name) VALUES ('new', 'after it')")
			e.wantEventOf(t, "after it")
			all := e.events(t, "organizations", 1)
			if !slices.ContainsFunc(all, func(ev got) bool { return ev.operation == streams.Complete }) {
				t.Error("nobody is told that rows are gone")
			}
		})
	}
}

// promote has a PostgreSQL end its recovery on another timeline when it starts.
func promote(t *testing.T, dir string) {
	t.Helper()
	conf, err := os.OpenFile(filepath.Join(dir, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conf.WriteString("restore_command = 'false'\n")
	if err = errors.Join(err, conf.Close(), os.WriteFile(filepath.Join(dir, "recovery.signal"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestHoleIsRemembered drops a table from the publication, and lets whoever mends that
// fail afterwards: the next owner knows that the slot has not seen everything.
func TestHoleIsRemembered(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 200
	stop := e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	e.wantEventOf(t, "before")
	stop()
	e.free(t)
	e.exec(t, "ALTER PUBLICATION ponix_cdc_publication DROP TABLE organizations")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'in the hole')")
	limit := func(bytes int32) {
		t.Helper()
		runtimetest.Alter(t, e.js, "KV_"+e.streams.CaptureState().Bucket, func(c *jetstream.StreamConfig) { c.MaxMsgSize = bytes })
	}
	limit(1) // NATS takes no state now
	e.instance(t)
	time.Sleep(2 * time.Second) // for some attempts
	limit(-1)
	e.wantEventOf(t, "in the hole")
}

// TestDeletedStream deletes a stream of events under the tail, which makes it again.
func TestDeletedStream(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 200
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	e.wantEventOf(t, "before")
	if err := e.js.DeleteStream(t.Context(), "organizations"); err != nil {
		t.Fatal(err)
	}
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'after')")
	e.wantEventOf(t, "after")
}

// TestNATSLosesItsDisk takes away what is on NATS while nothing changes: all rows are told
// of again.
func TestNATSLosesItsDisk(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 200
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	e.wantEventOf(t, "before")
	runtimetest.Eventually(t, 20*time.Second, func() error { // nothing is left to be written
		st, err := e.status(t)
		if err == nil && (st.EventsPublished == 0 || st.LagSeconds > 0) {
			err = fmt.Errorf("not confirmed: %v", st)
		}
		return err
	})
	for name := range e.js.StreamNames(t.Context()).Name() {
		if err := e.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	e.wantEventOf(t, "before")
}

// TestStateIsGarbage has somebody write something else over the state: the status says what
// is to be done, and when that is, a fresh snapshot follows.
func TestStateIsGarbage(t *testing.T) {
	t.Parallel()
	e, kv := withState(t)
	if _, err := kv.PutString(t.Context(), e.config.Slot, "garbage"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.status(t); err == nil || !strings.Contains(err.Error(), "key "+e.config.Slot+" of bucket "+kv.Bucket()) || !strings.Contains(err.Error(), "delete the key") {
		t.Errorf("the status is %v", err)
	}
	e.wantFreshSnapshot(t, kv)
}

// TestStateIsDeleted has somebody delete the key of the slot's state: a fresh snapshot
// follows.
func TestStateIsDeleted(t *testing.T) {
	t.Parallel()
	e, kv := withState(t)
	e.wantFreshSnapshot(t, kv)
}

// withState has an instance that has published one event, and the bucket of its state.
func withState(t *testing.T) (*env, jetstream.KeyValue) {
	t.Helper()
	e := newEnv(t)
	e.config.RetryDelay = 200
	e.instance(t)
	e.streaming(t)
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'before')")
	e.wantEventOf(t, "before")
	kv, err := e.js.KeyValue(t.Context(), e.streams.CaptureState().Bucket)
	if err != nil {
		t.Fatal(err)
	}
	return e, kv
}

// wantFreshSnapshot holds that one follows when the state's key is deleted, and events after it.
func (e *env) wantFreshSnapshot(t *testing.T, kv jetstream.KeyValue) {
	t.Helper()
	if err := kv.Delete(t.Context(), e.config.Slot); err != nil {
		t.Fatal(err)
	}
	if all := e.events(t, "organizations", 2); all[1].operation != streams.Snapshot {
		t.Errorf("got %s", kinds(all))
	}
	e.streaming(t)
	e.exec(t, "UPDATE organizations SET name = 'after'")
	e.wantEventOf(t, "after")
}

// TestLagOfAStuckEvent holds that the status says for how long an event has waited,
// however often it was tried.
func TestLagOfAStuckEvent(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.config.RetryDelay = 200
	e.instance(t)
	e.streaming(t)
	runtimetest.Alter(t, e.js, "organizations", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew })
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('o', 'fits')")
	e.wantEventOf(t, "fits")
	e.exec(t, "INSERT INTO organizations (id, name) VALUES ('p', 'does not')")
	began := time.Now()
	e.wantError(t, "maximum messages")
	runtimetest.Eventually(t, 20*time.Second, func() error {
		for range 5 { // in a row, as it is tried again and again
			st, err := e.status(t)
			if err != nil || st.LagSeconds < 3 {
				return fmt.Errorf("after %v the lag is %v s, %w", time.Since(began), st.GetLagSeconds(), err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		return nil
	})
}
